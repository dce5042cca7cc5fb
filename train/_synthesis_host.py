"""What a device does around a transformer that writes programs: cache, grammar, beam. NumPy only, Python 3.7."""

# Python 3.7, without annotations.
# mypy: ignore-errors

import math

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
        if settings["width"] < 1:
            raise ValueError("Expected a beam of width 1 or more. Got: {}.".format(settings["width"]))
        # What a step takes microseconds for is made once: what each token, each place and each state needs.
        self.tokens = [row.reshape(1, 1, -1) for row in np.eye(settings["kinds_out"], dtype=np.float32)]
        self.positions = [row.reshape(1, 1, -1) for row in np.eye(self.slots + 1, dtype=np.float32)]
        self.masks = np.full((self.slots + 1, 1, 1, self.slots + 1), MASKED, np.float32)
        for place, mask in enumerate(self.masks):
            mask[..., :place] = mask[..., -1] = 0
        self.followers = [np.flatnonzero(row >= 0).tolist() for row in self.table]
        layers = range(1, len(settings["units"]) + 1)
        self.grows = [(f"{kind}s_{layer}", f"{kind}_{layer}") for layer in layers for kind in ("key", "value")]

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
        wrong = [token for token in command.tolist() if not (0 <= token < kinds and token == int(token))]
        if wrong:
            raise ValueError(f"Expected tokens from 0 to {kinds - 1} in a command. Got: {wrong[0]}.")
        if not command.any():
            raise ValueError("Expected a command of at least one token. Got: padding alone.")
        return one_hot(command, kinds)[np.newaxis]

    def empty(self):
        """Return a cache that holds nothing."""
        units = [size for sizes in self.settings["units"] for size in sizes]
        return {name: np.zeros((1, self.slots, size), np.float32) for (name, _), size in zip(self.grows, units)}

    def next(self, tokens, cache, memory):
        """Return the logits [kinds_out] after the tokens; write the last token's keys and values into the cache."""
        place = len(tokens)
        last = tokens[-1] if tokens else self.settings["end"]
        fed = {"token": self.tokens[last], "position": self.positions[place], "mask": self.masks[place]}
        fed.update(cache)
        fed.update(memory)
        made = self.step(fed)
        if place < self.slots:
            for rows, row in self.grows:
                cache[rows][0, place] = made[row][0, 0]
        return made["logits"][0, 0]

    def allowed(self, logits, state):
        """Return the pairs (token, log probability) among the tokens that the grammar allows."""
        tokens, known = self.followers[state], logits.tolist()
        highest = max([known[token] for token in tokens])
        total = highest + math.log(sum([math.exp(known[token] - highest) for token in tokens]))
        return [(token, known[token] - total) for token in tokens]


def one_hot(tokens, kinds):
    """Return [..., kinds] float32."""
    return (tokens[..., np.newaxis] == np.arange(kinds)).astype(np.float32)
