"""What a device does around a recurrent network that writes programs: state, grammar. NumPy only, Python 3.7."""

# Python 3.7, without annotations.
# mypy: ignore-errors

import numpy as np


class Host(object):
    """Turns a command into a program, greedily, with one call of ``encoder`` and one of ``step`` for each token.

    Settings: ``tokens_in`` and ``kinds_in`` of a command (0 is padding), ``tokens_out`` and ``kinds_out`` of a program
    with its end, ``end`` (that token; it also stands for the beginning), ``table`` (the grammar's automaton: by state
    and token the next state, or -1) and ``start`` (its first state).
    """

    def __init__(self, graphs, settings):
        self.graphs = graphs
        self.settings = settings
        self.table = np.array(settings["table"])

    def run(self, sample):
        """Return ``program`` [slots], -1 for padding, for the tokens ``command``."""
        search = self.search(sample)
        name, fed = next(search)
        while True:
            try:
                name, fed = search.send(self.graphs[name](fed))
            except StopIteration as end:
                return end.value

    def search(self, sample):
        """Decode as a generator: it yields (graph, inputs), is sent their outputs and returns what ``run`` returns."""
        read = yield "encoder", {"command": self.encoded(sample["command"])}
        memory, state = {"memory": read["memory"], "keys": read["keys"]}, read["state"]
        end, kinds = self.settings["end"], self.settings["kinds_out"]
        place, last, program = self.settings["start"], end, []
        while not program or last != end:
            made = yield "step", dict(memory, token=one_hot(np.array([last]), kinds), state=state)
            state = made["next_state"]
            last = int(np.where(self.table[place] >= 0, made["logits"][0], -np.inf).argmax())
            place = int(self.table[place, last])
            program.append(last)
        padded = np.full(self.settings["tokens_out"] - 1, -1, np.int32)
        padded[: len(program) - 1] = program[:-1]
        return {"program": padded}

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


def one_hot(tokens, kinds):
    """Return [..., kinds] float32."""
    return (tokens[..., np.newaxis] == np.arange(kinds)).astype(np.float32)
