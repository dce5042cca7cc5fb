"""What a device does to find a list program from examples: DeepCoder's language, and best-first search. Python 3.7.

The language is that of Balog et al. 2017 (arXiv 1611.01989, appendix F): 34 functions over integers in [-256, 255] and
lists of them. Divisions round towards zero. A value out of range, the first of an empty list and the like are null.
"""

# Python 3.7, without annotations.
# mypy: ignore-errors

import heapq

import numpy as np

MASKED = -30.0
LOW, HIGH, ABSENT = -256, 255, 256
INT, LIST = 1, 2


def _truncated(number, divisor):
    return -(-number // divisor) if number < 0 else number // divisor


def _scanned(operation, numbers):
    made = list(numbers[:1])
    for number in numbers[1:]:
        made.append(operation(made[-1], number))
    return made


NUMBER_TO_NUMBER = {
    "+1": lambda x: x + 1,
    "-1": lambda x: x - 1,
    "*2": lambda x: x * 2,
    "/2": lambda x: _truncated(x, 2),
    "*(-1)": lambda x: -x,
    "**2": lambda x: x * x,
    "*3": lambda x: x * 3,
    "/3": lambda x: _truncated(x, 3),
    "*4": lambda x: x * 4,
    "/4": lambda x: _truncated(x, 4),
}
NUMBER_TO_TRUTH = {
    ">0": lambda x: x > 0,
    "<0": lambda x: x < 0,
    "%2==0": lambda x: x % 2 == 0,
    "%2==1": lambda x: x % 2 == 1,
}
TWO_TO_NUMBER = {
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
    "MIN": min,
    "MAX": max,
}
LAMBDAS = dict(NUMBER_TO_NUMBER, **dict(NUMBER_TO_TRUTH, **TWO_TO_NUMBER))
# By name: what it does, its arguments' types (a group of lambdas first where it takes one), its result's type.
FUNCTIONS = {
    "HEAD": (lambda xs: xs[0] if xs else None, (LIST,), INT),
    "LAST": (lambda xs: xs[-1] if xs else None, (LIST,), INT),
    "TAKE": (lambda n, xs: xs[: max(n, 0)], (INT, LIST), LIST),
    "DROP": (lambda n, xs: xs[max(n, 0) :], (INT, LIST), LIST),
    "ACCESS": (lambda n, xs: xs[n] if 0 <= n < len(xs) else None, (INT, LIST), INT),
    "MINIMUM": (lambda xs: min(xs) if xs else None, (LIST,), INT),
    "MAXIMUM": (lambda xs: max(xs) if xs else None, (LIST,), INT),
    "REVERSE": (lambda xs: xs[::-1], (LIST,), LIST),
    "SORT": (sorted, (LIST,), LIST),
    "SUM": (sum, (LIST,), INT),
    "MAP": (lambda f, xs: [f(x) for x in xs], (NUMBER_TO_NUMBER, LIST), LIST),
    "FILTER": (lambda f, xs: [x for x in xs if f(x)], (NUMBER_TO_TRUTH, LIST), LIST),
    "COUNT": (lambda f, xs: sum(1 for x in xs if f(x)), (NUMBER_TO_TRUTH, LIST), INT),
    "ZIPWITH": (lambda f, xs, ys: [f(x, y) for x, y in zip(xs, ys)], (TWO_TO_NUMBER, LIST, LIST), LIST),
    "SCANL1": (_scanned, (TWO_TO_NUMBER, LIST), LIST),
}
# A program's tokens: functions and lambdas, the two inputs, the first statement's result, the end.
TOKENS = list(FUNCTIONS) + ["lambda " + name for name in LAMBDAS] + ["x0", "x1", "x2", "END"]
RESULT, END = TOKENS.index("x2"), len(TOKENS) - 1
PERIODS = (2, 3, 4, 5, 6, 8, 12, 16, 32, 64, 128, 256, 512, 1024)
FEATURES = 2 * len(PERIODS) + 4


def in_range(value):
    """Return the value, or None where it is null or leaves the range of integers."""
    numbers = value if isinstance(value, list) else [value]
    return None if any(number is None or not LOW <= number <= HIGH for number in numbers) else value


def run_statement(names, variables):
    """Return what a statement gives, None for null: ``names`` such as ["MAP", "lambda +1", "x0"], variables by name."""
    arguments = [LAMBDAS[name[7:]] if name.startswith("lambda ") else variables[name] for name in names[1:]]
    return in_range(FUNCTIONS[names[0]][0](*arguments))


def run_program(names, inputs):
    """Return what a program gives, None for null: a list of tokens' names without the end, and its inputs."""
    variables = {f"x{place}": value for place, value in enumerate(inputs)}
    value = None
    for statement in statements(names):
        value = run_statement(statement, variables)
        if value is None:
            return None
        variables["x2"] = value
    return value


def statements(names):
    """Return the tokens' names statement by statement."""
    parts = []
    for name in names:
        if name in FUNCTIONS:
            parts.append([])
        parts[-1].append(name)
    return parts


def features(slots):
    """Return [..., FEATURES] float32 for slots [..., 2]: an integer (256 where there is none), and its type (0: none).

    Sines and cosines of several periods tell integers apart and turn by a fixed angle under an addition.
    """
    value, kind = slots[..., :1].astype(np.float32), slots[..., 1:]
    angles = value * (2 * np.pi / np.array(PERIODS, np.float32))
    told = np.concatenate([np.sin(angles), np.cos(angles), value / 256, (value < 0).astype(np.float32)], axis=-1)
    there = (kind > 0).astype(np.float32)
    return np.concatenate([told * there, kind == INT, kind == LIST], axis=-1).astype(np.float32)


class Host:
    """Finds a program from examples: one call of the graph ``encoder``, one of ``step`` for each prefix looked at.

    Prefixes are looked at in the order of their probability. A statement that is null for an example ends its prefix.

    Settings: ``table`` (the grammar's automaton) and ``starts`` (its first state by the inputs' types, such as "2 1"),
    ``length`` (of a list), ``tokens_out``, ``units`` (of keys and values, for each decoder layer) and ``nodes`` (how
    many statements are run before the search gives up).
    """

    def __init__(self, graphs, settings):
        self.graphs = graphs
        self.settings = settings
        self.table = np.array(settings["table"])
        self.slots = settings["tokens_out"] - 1

    def run(self, sample):
        """Return ``outputs`` [examples, length], the found program's (256 for padding and for no program found).

        And ``program`` [slots], its tokens, -1 for padding; ``nodes`` [1], how many statements were run.

        Args:
            sample: ``slots`` [examples, 3 length, 2]: for the first input, the second and the output, slot by slot the
                integer (256 where there is none) and its type (0: none, 1: integer, 2: list).
        """
        search = self.search(sample)
        name, fed = next(search)
        while True:
            try:
                name, fed = search.send(self.graphs[name](fed))
            except StopIteration as end:
                return end.value

    def search(self, sample):
        """Search as a generator: it yields (graph, inputs), is sent their outputs and returns what ``run`` returns."""
        slots = np.asarray(sample["slots"])
        examples, start = self.read(slots)
        memory = yield "encoder", {"examples": features(slots)[np.newaxis]}
        heap, ties, nodes = [(0.0, 0, [], start, self.empty(), [dict(given) for given, _ in examples])], 0, 0
        while heap and nodes < self.settings["nodes"]:
            lost, _, tokens, state, cache, variables = heapq.heappop(heap)
            allowed = np.flatnonzero(self.table[state] >= 0)
            if tokens and (allowed[0] == END or self.begins(allowed)):
                nodes += 1
                statement = statements([TOKENS[token] for token in tokens])[-1]
                made = [run_statement(statement, known) for known in variables]
                if any(value is None for value in made):
                    continue
                if all(value == wanted for value, (_, wanted) in zip(made, examples)):
                    return self.answer(tokens, made, nodes, len(slots))
                if allowed[0] == END:
                    continue
                variables = [dict(known, x2=value) for known, value in zip(variables, made)]
            step = yield "step", self.fed(tokens, cache, memory)
            cache = self.grown(cache, step, len(tokens))
            logits = step["logits"][0, 0][allowed].astype(np.float64)
            logits -= logits.max()
            for token, surprise in zip(allowed.tolist(), (np.log(np.exp(logits).sum()) - logits).tolist()):
                ties += 1
                after = int(self.table[state, token])
                heapq.heappush(heap, (lost + surprise, ties, tokens + [token], after, cache, variables))
        return self.answer([], [], nodes, len(slots))

    def begins(self, allowed):
        """Say whether a statement begins here: only functions may follow."""
        return bool((allowed < len(FUNCTIONS)).all())

    def read(self, slots):
        """Return the pairs (inputs by name, output), and the automaton's first state."""
        length = self.settings["length"]
        if slots.ndim != 3 or slots.shape[1:] != (3 * length, 2) or not len(slots):
            raise ValueError(f"Expected examples of shape [examples, {3 * length}, 2]. Got: {slots.shape}.")
        there = slots[..., 1] > 0
        outside = there & ((slots[..., 0] < LOW) | (slots[..., 0] > HIGH))
        if outside.any():
            raise ValueError(f"Expected integers in [-256, 255]. Got: {int(slots[outside][0, 0])}.")
        kinds = [slots[:, place * length : (place + 1) * length, 1].max(axis=1) for place in range(3)]
        told = " ".join(str(int(kind.max())) for kind in kinds[:2] if kind.max())
        if told not in self.settings["starts"]:
            raise ValueError(
                "Expected inputs of the types {} (1: integer, 2: list). Got: '{}'.".format(
                    sorted(self.settings["starts"]), told
                )
            )
        examples = []
        for example in slots:
            values = []
            for place in range(3):
                part = example[place * length : (place + 1) * length]
                numbers = part[part[:, 1] > 0, 0].astype(int).tolist()
                values.append(numbers[0] if kinds[place].max() == INT else numbers)
            examples.append(({"x0": values[0], "x1": values[1]}, values[2]))
        return examples, self.settings["starts"][told]

    def answer(self, tokens, values, nodes, examples):
        """Return the arrays that ``run`` returns."""
        outputs = np.full((examples, self.settings["length"]), ABSENT, np.int32)
        for row, value in zip(outputs, values):
            numbers = value if isinstance(value, list) else [value]
            row[: len(numbers)] = numbers
        program = np.full(self.slots, -1, np.int32)
        program[: len(tokens)] = tokens
        return {"outputs": outputs, "program": program, "nodes": np.array([nodes], np.int32)}

    def empty(self):
        """Return a cache that holds nothing."""
        cache = {}
        for number, (keys, values) in enumerate(self.settings["units"], start=1):
            cache[f"keys_{number}"] = np.zeros((1, self.slots, keys), np.float32)
            cache[f"values_{number}"] = np.zeros((1, self.slots, values), np.float32)
        return cache

    def fed(self, tokens, cache, memory):
        """Return the step's inputs after the tokens."""
        place = len(tokens)
        mask = np.full((1, 1, self.slots + 1), MASKED, np.float32)
        mask[:, :, :place] = 0
        mask[:, :, -1] = 0
        last = tokens[-1] if tokens else END
        fed = dict(cache, mask=mask)
        fed["token"] = one_hot(last, len(TOKENS))
        fed["position"] = one_hot(place, self.slots + 1)
        fed.update(memory)
        return fed

    def grown(self, cache, step, place):
        """Return the cache with the step's rows at a place."""
        if place >= self.slots:
            return cache
        grown = {}
        for name, array in cache.items():
            kind, number = name.split("_")
            grown[name] = array.copy()
            grown[name][:, place] = step[f"{kind[:-1]}_{number}"][:, 0]
        return grown


def one_hot(place, kinds):
    """Return [1, 1, kinds] float32."""
    return (np.arange(kinds) == place).astype(np.float32)[np.newaxis, np.newaxis]
