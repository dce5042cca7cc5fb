"""List programs of two statements and examples of what they do, after DeepCoder (Balog et al. 2017, 1611.01989).

Of the programs that do the same the first is kept, and none that one statement does as well or that leaves an input
out: 1,174 are left, and no tested one does what a trained one does. Lists have up to 10 integers (the paper's 20).
"""

import functools
import itertools
from typing import Any

import numpy as np

from . import _synthesis_list_host as language
from ._sources import made_once
from ._synthesis_grammar import Automaton, automaton
from ._synthesis_list_host import END, INT, LAMBDAS, LIST, RESULT, TOKENS
from ._synthesis_sequences import PADDING, TOKEN_ACCURACY, PaddedCrossEntropy, given_before, one_hot, padded
from ._task import Dataset, Metric, Task

LENGTH, EXAMPLES, STATEMENTS = 10, 5, 2
LONGEST_PROGRAM = 4 * STATEMENTS
INPUTS = {"2": (LIST,), "2 1": (LIST, INT), "2 2": (LIST, LIST)}
_TEST_PROGRAMS, _TRAINING_SETS, _PROBES = 250, 24, 24
_SIZES = (3, 8, 16, 40, 120, 255)

Values = tuple[Any, ...]
FUNCTIONS: dict[str, Any] = language.FUNCTIONS


@functools.cache
def grammar() -> Automaton:
    """Return the automaton of programs of two statements, the second of which uses the first's result.

    A state is (the inputs' types, the result's type once there is one, what is still expected, whether the result has
    been used).
    """

    def usable(kinds: tuple[int, ...], result: int, kind: Any) -> list[int]:
        places = [place for place, own in enumerate(kinds) if own == kind]
        return [TOKENS.index(f"x{place}") for place in places] + ([RESULT] if result == kind else [])

    def possible(kinds: tuple[int, ...], result: int, name: str) -> bool:
        wanted = [kind for kind in FUNCTIONS[name][1] if kind in (INT, LIST)]
        return all(usable(kinds, result, kind) for kind in wanted) and (not result or result in wanted)

    def follow(state: Any) -> dict[int, Any]:
        kinds, result, made, rest, used = state
        if made == "done":
            return {}
        if made is None:
            return {
                TOKENS.index(name): (kinds, result, name, _plain(FUNCTIONS[name][1]), False)
                for name in FUNCTIONS
                if possible(kinds, result, name)
            }
        if not rest:
            if result:
                return {END: (kinds, result, "done", (), False)}
            return follow((kinds, FUNCTIONS[made][2], None, (), False))
        if rest[0] in _GROUPS:
            return {TOKENS.index(f"lambda {name}"): (kinds, result, made, rest[1:], used) for name in _GROUPS[rest[0]]}
        tokens = usable(kinds, result, rest[0])
        if result and not used and result not in rest[1:]:
            tokens = [RESULT]
        return {token: (kinds, result, made, rest[1:], used or token == RESULT) for token in tokens}

    return automaton({name: (kinds, 0, None, (), False) for name, kinds in INPUTS.items()}, follow, len(TOKENS))


_GROUPS: dict[str, dict[str, Any]] = {
    "number": language.NUMBER_TO_NUMBER,
    "truth": language.NUMBER_TO_TRUTH,
    "two": language.TWO_TO_NUMBER,
}


def _plain(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a function's arguments with its group of lambdas by name, so that a state can be looked up."""
    return tuple(next((name for name, group in _GROUPS.items() if group is kind), kind) for kind in arguments)


def programs_of(inputs: str) -> list[tuple[int, ...]]:
    """Return every program of the grammar for inputs such as "2 1", as tokens without the end."""
    table, found = grammar().table, []
    waiting: list[tuple[tuple[int, ...], int]] = [((), grammar().starts[inputs])]
    while waiting:
        tokens, state = waiting.pop()
        for token in np.flatnonzero(table[state] >= 0)[::-1]:
            if token == END:
                found.append(tokens)
            else:
                waiting.append(((*tokens, int(token)), int(table[state, token])))
    return found


def draw_inputs(kinds: tuple[int, ...], random: np.random.Generator, size: int) -> Values:
    """Return one value for each type: integers between -size and size, an index between 0 and 5."""

    def numbers() -> list[int]:
        return [int(number) for number in random.integers(-size, size + 1, random.integers(1, LENGTH + 1))]

    return tuple(numbers() if kind == LIST else int(random.integers(0, 6)) for kind in kinds)


def examples_of(
    program: list[str], kinds: tuple[int, ...], random: np.random.Generator, tries: int = 60
) -> list[tuple[Values, Any]] | None:
    """Return five examples (inputs, output) of a program in the range of integers, None where they are too rare."""
    found: list[tuple[Values, Any]] = []
    for attempt in range(tries):
        inputs = draw_inputs(kinds, random, _SIZES[int(random.integers(0, max(1, len(_SIZES) - attempt // 8)))])
        output = language.run_program(program, inputs)
        if output is not None:
            found.append((inputs, output))
        if len(found) == EXAMPLES:
            return found
    return None


def slots_of(examples: list[tuple[Values, Any]]) -> np.ndarray:
    """Return examples as ``[examples, 30, 2]`` int16: integers (256 where there is none) and their types (0: none)."""
    slots = np.zeros((len(examples), 3 * LENGTH, 2), np.int16)
    slots[..., 0] = language.ABSENT
    for row, (inputs, output) in zip(slots, examples, strict=True):
        places = [*enumerate(inputs), (2, output)]
        for place, value in places:
            numbers = value if isinstance(value, list) else [value]
            part = row[place * LENGTH : place * LENGTH + len(numbers)]
            part[:, 0], part[:, 1] = numbers, LIST if isinstance(value, list) else INT
    return slots


def distinct_programs(inputs: str) -> list[tuple[int, ...]]:
    """Return the programs that differ from each other, from one statement and from what leaves an input out.

    They are told apart by what they do to 24 drawn inputs.
    """
    kinds, random = INPUTS[inputs], np.random.default_rng(7)
    probes = [draw_inputs(kinds, random, _SIZES[place % 3]) for place in range(_PROBES)]

    def behaviour(names: list[str]) -> Any:
        return tuple(map(repr, (language.run_program(names, probe) for probe in probes)))

    used_by_all = {f"x{place}" for place in range(len(kinds))}
    seen = {behaviour(statement) for statement in _single_statements(kinds)}
    seen |= {tuple(repr(probe[place]) for probe in probes) for place in range(len(kinds))}
    found = []
    for program in programs_of(inputs):
        names = [TOKENS[token] for token in program]
        if used_by_all <= set(names):
            told = behaviour(names)
            if told not in seen and sum(value != "None" for value in told) > _PROBES // 3:
                found.append(program)
            seen.add(told)
    return found


def _single_statements(kinds: tuple[int, ...]) -> list[list[str]]:
    made = []
    for name, (_, arguments, _) in FUNCTIONS.items():
        choices: list[list[str]] = []
        for kind in arguments:
            if isinstance(kind, dict):
                choices.append([f"lambda {one}" for one in kind])
            else:
                choices.append([f"x{place}" for place, own in enumerate(kinds) if own == kind])
        made += [[name, *chosen] for chosen in itertools.product(*choices)]
    return made


def _make() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    every = [(inputs, program) for inputs in INPUTS for program in distinct_programs(inputs)]
    order = random.permutation(len(every))
    made: dict[str, list[Any]] = {"train": [], "test": []}
    programs: dict[str, list[Any]] = {"train": [], "test": []}
    for rank, place in enumerate(order):
        inputs, program = every[place]
        part = "test" if rank < _TEST_PROGRAMS else "train"
        names = [TOKENS[token] for token in program]
        for _ in range(1 if part == "test" else _TRAINING_SETS):
            examples = examples_of(names, INPUTS[inputs], random)
            if examples is not None:
                made[part].append(slots_of(examples))
                programs[part].append([*program, END])
    return {
        **{f"{part}_slots": np.stack(made[part]) for part in made},
        **{f"{part}_programs": padded(programs[part], LONGEST_PROGRAM + 1, PADDING) for part in programs},
    }


@functools.cache
def _arrays() -> Any:
    return made_once("deepcoder-lists-two-statements-v2", _make)


@functools.cache
def list_programs() -> Task:
    """Return the teacher-forced task: ``examples`` ``[5, 30, 2]`` and ``actions_in``, programs as labels."""
    arrays = _arrays()

    def dataset(part: str) -> Dataset:
        programs = arrays[f"{part}_programs"]
        return Dataset(
            {
                "examples": arrays[f"{part}_slots"].astype(np.float32),
                "actions_in": one_hot(given_before(programs, END), len(TOKENS)),
            },
            programs,
        )

    return Task("list-programs", dataset("train"), dataset("test"), PaddedCrossEntropy(), TOKEN_ACCURACY)


def execution_match(outputs: np.ndarray, labels: np.ndarray) -> float:
    """Return the share, in percent, of samples whose outputs ``[samples, examples, length]`` are all as wanted."""
    return float(100.0 * np.mean((outputs == labels).all(axis=(1, 2))))


EXECUTION_MATCH = Metric("execution match", "%", "higher", execution_match)


def list_examples() -> Task:
    """Return the task as a device has it: ``slots`` to the outputs of a program that does what the examples show."""
    arrays = _arrays()

    def dataset(slots: np.ndarray) -> Dataset:
        return Dataset({"slots": slots}, slots[:, :, 2 * LENGTH :, 0].astype(np.int32))

    return Task("list-examples", dataset(arrays["train_slots"]), dataset(arrays["test_slots"]), None, EXECUTION_MATCH)


assert len(FUNCTIONS) + len(LAMBDAS) == 34
