"""What a device does around a transformer that writes programs: cache, grammar, beam. NumPy only, Python 3.7."""

# Python 3.7, without annotations.
# mypy: ignore-errors

import numpy as np

MASKED = -30.0


class Host:
    """Turns a command into a program, with one call of the graph ``encoder`` and one of ``step`` for each token.

    Settings: ``tokens_in`` and ``kinds_in`` of a command (0 is padding), ``tokens_out`` and ``kinds_out`` of a program
    with its end, ``end`` (that token; it also stands for the beginning), ``units`` (of keys and values, for each
    decoder layer), ``table`` (the grammar's automaton: by state and token the next state, or -1), ``start`` (its first
    state) and ``width`` (of the beam; 1 is greedy).
    """

    def __init__(self, graphs, settings):
        self.encoder, self.step = graphs["encoder"], graphs["step"]
        self.settings = settings
        self.table = np.array(settings["table"])
        self.slots = settings["tokens_out"] - 1
        self.layers = range(1, len(settings["units"]) + 1)
        if settings["width"] < 1:
            raise ValueError("Expected a beam of width 1 or more. Got: {}.".format(settings["width"]))

    def run(self, sample):
        """Return ``program`` [slots], -1 for padding, for the tokens ``command``."""
        program = self.programs(sample["command"])[0][1]
        padded = np.full(self.slots, -1, np.int32)
        padded[: len(program)] = program
        return {"program": padded}

    def programs(self, command):
        """Return the pairs (log probability, tokens) that the beam ends with, the likeliest first."""
        memory = self.encoder({"command": self.encoded(command)})
        width, end = self.settings["width"], self.settings["end"]
        alive, done = [(0.0, [], self.settings["start"], self.empty())], []
        while alive and (len(done) < width or alive[0][0] > done[width - 1][0]):
            candidates = []
            for place, (score, tokens, state, cache) in enumerate(alive):
                logits = self.next(tokens, cache, memory)
                for token, surprise in self.allowed(logits, state):
                    candidates.append((score + surprise, place, token))
            candidates.sort(key=lambda candidate: -candidate[0])
            grown, used = [], set()
            for score, place, token in candidates[:width]:
                _, tokens, state, cache = alive[place]
                if token == end:
                    done.append((score, tokens))
                    continue
                if place in used:
                    cache = {name: array.copy() for name, array in cache.items()}
                used.add(place)
                grown.append((score, tokens + [token], int(self.table[state, token]), cache))
            alive = grown
            done.sort(key=lambda program: -program[0])
        return done[:width]

    def encoded(self, command):
        """Return the command's tokens as one-hot [1, tokens_in, kinds_in]."""
        command = np.asarray(command)
        length, kinds = self.settings["tokens_in"], self.settings["kinds_in"]
        if command.shape != (length,):
            raise ValueError(f"Expected a command of {length} tokens. Got: shape {command.shape}.")
        wrong = [int(token) for token in command if not 0 <= token < kinds]
        if wrong:
            raise ValueError(f"Expected tokens from 0 to {kinds - 1} in a command. Got: {wrong[0]}.")
        if not command.any():
            raise ValueError("Expected a command of at least one token. Got: padding alone.")
        return one_hot(command, kinds)[np.newaxis]

    def empty(self):
        """Return a cache that holds nothing."""
        cache = {}
        for layer, (keys, values) in zip(self.layers, self.settings["units"]):
            cache[f"keys_{layer}"] = np.zeros((1, self.slots, keys), np.float32)
            cache[f"values_{layer}"] = np.zeros((1, self.slots, values), np.float32)
        return cache

    def next(self, tokens, cache, memory):
        """Return the logits [kinds_out] after the tokens; write the last token's keys and values into the cache."""
        place = len(tokens)
        mask = np.full((1, 1, self.slots + 1), MASKED, np.float32)
        mask[:, :, :place] = 0
        mask[:, :, -1] = 0
        last = tokens[-1] if tokens else self.settings["end"]
        fed = {
            "token": one_hot(np.array([[last]]), self.settings["kinds_out"]),
            "position": one_hot(np.array([[place]]), self.slots + 1),
            "mask": mask,
        }
        fed.update(cache)
        fed.update(memory)
        made = self.step(fed)
        if place < self.slots:
            for layer in self.layers:
                cache[f"keys_{layer}"][:, place] = made[f"key_{layer}"][:, 0]
                cache[f"values_{layer}"][:, place] = made[f"value_{layer}"][:, 0]
        return made["logits"][0, 0]

    def allowed(self, logits, state):
        """Return the pairs (token, log probability) among the tokens that the grammar allows."""
        tokens = np.flatnonzero(self.table[state] >= 0)
        logits = logits[tokens].astype(np.float64)
        logits = logits - logits.max()
        return list(zip(tokens.tolist(), (logits - np.log(np.exp(logits).sum())).tolist()))


def one_hot(tokens, kinds):
    """Return [..., kinds] float32."""
    return (tokens[..., np.newaxis] == np.arange(kinds)).astype(np.float32)
