"""Descriptions of small circuits and the Verilog that they ask for, simulated by Icarus Verilog.

The modules and the phrasings are made here. Of the combinations of options, and of operations and widths, a fifth is
never trained and is what is tested; names are never told to the network. What is judged is what the written module
does, beside a reference in Python; the share of programs that are the very one is measured beside it.
"""

import functools
from typing import Any

import numpy as np

from . import _synthesis_verilog_host as language
from ._sources import made_once
from ._synthesis_grammar import Automaton, automaton
from ._synthesis_sequences import (
    EXACT_MATCH,
    PADDING,
    TOKEN_ACCURACY,
    PaddedCrossEntropy,
    given_before,
    one_hot,
    padded,
)
from ._synthesis_verilog_host import (
    ASSIGN,
    BINARY,
    BITS,
    CHOICE,
    END,
    INNER,
    INPUTS,
    NAMES,
    NEXT,
    NUMBERS,
    RESETS,
    SHIFTS,
    TESTS,
    TOKENS,
    UNARY,
    VECTORS,
    WIDTHS,
)
from ._synthesis_verilog_modules import Module, drawn, held_out
from ._synthesis_verilog_reference import bench
from ._synthesis_verilog_simulation import Trial
from ._synthesis_verilog_texts import LONGEST_DESCRIPTION, TooLong, described, vocabulary
from ._task import Dataset, Task

LONGEST_PROGRAM = 39
MODULE_BYTES = 2048
# By part the seed and how many: what is tested, and trained combinations in phrasings that never are.
PARTS = {"train": (0, 12000), "test": (1, 400), "phrasings": (2, 200)}
_DEPLOYED_TRAIN, _DESCRIPTION_BYTES = 200, 512
_OPERATORS, _PENDING, _PORTS = 4, 5, 6  # of an expression, of a module


@functools.cache
def grammar() -> Automaton:
    """Return the automaton of the modules: ports, at most one clocked register, one expression for each of these.

    What is read is declared, and only a register wider than a bit is shifted; so every program is Verilog that
    compiles. The clock is the first input, and it is read by nothing else. That no name is bound twice is left to the
    host (``_synthesis_verilog_host.Host.possible``).
    """

    def follow(state: Any) -> dict[str, Any]:
        match state:
            case ("module",):
                return dict.fromkeys(NAMES, ("width",))
            case ("width",):
                return {
                    **dict.fromkeys(NUMBERS, ("ports", True, 0, 0)),
                    INPUTS[0]: ("bind", ("ports", False, 1, 0)),
                }
            case ("bind", after):
                return dict.fromkeys(NAMES, after)
            case ("ports", wide, bits, vectors):
                return _ports(wide, bits, vectors)
            case ("plain", wide, bits, vectors):
                registers = INNER if wide else INNER[:1]
                held = bits and bits + vectors > 1  # an input beside the clock
                inner = {name: ("clocked", bits, vectors, name, True) for name in registers if held}
                return {ASSIGN: ("expression", bits, vectors, "", 1, _OPERATORS), **inner}
            case ("clocked", bits, vectors, register, inner):
                return dict.fromkeys(("posedge", "negedge"), ("sensitive", bits, vectors, register, inner))
            case ("sensitive", *rest):
                waiting = dict.fromkeys(("or posedge", "or negedge"), ("reset", *rest))
                return {**(waiting if rest[0] > 1 else {}), **follow(("test", *rest))}
            case ("reset", bits, *rest):
                return dict.fromkeys(BITS[1:bits], ("value", bits, *rest))
            case ("value", *rest):
                return dict.fromkeys(RESETS, ("enable", *rest))
            case ("test" | "enable", bits, vectors, register, inner):
                then = "tested" if state[0] == "test" else "enabled"
                tests = dict.fromkeys(TESTS, (then, bits, vectors, register, inner)) if bits > 1 else {}
                return {**tests, **follow(("next", bits, vectors, register, inner))}
            case ("tested", bits, *rest):
                return dict.fromkeys(BITS[1:bits], ("reset or next", bits, *rest))
            case ("enabled", bits, *rest):
                return dict.fromkeys(BITS[1:bits], ("next", bits, *rest))
            case ("reset or next", *rest):
                return {**follow(("value", *rest)), **follow(("next", *rest))}
            case ("next", bits, vectors, register, inner):
                if inner:  # it holds an input, and the output is made of the two
                    return {NEXT: ("held", bits, vectors)}
                return {NEXT: ("expression", bits, vectors, register, 1, _OPERATORS)}
            case ("held", bits, vectors):
                return dict.fromkeys((*BITS[1:bits], *VECTORS[:vectors]), ("assign", bits, vectors))
            case ("assign", bits, vectors):
                return {ASSIGN: ("expression", bits, vectors, "held", 1, _OPERATORS)}
            case ("expression", bits, vectors, register, pending, left):
                return _expression(bits, vectors, register, pending, left) if pending else {"END": "done"}
            case ("shifted", bits, after):
                return dict.fromkeys(BITS[1:bits], after)
        return {}

    def numbered(state: Any) -> dict[int, Any]:
        return {TOKENS.index(name): after for name, after in follow(state).items()}

    return automaton({"": ("module",)}, numbered, len(TOKENS))


def _ports(wide: bool, bits: int, vectors: int) -> dict[str, Any]:
    """Return what may follow so many inputs: bits before vectors, then the output."""
    after: dict[str, Any] = {}
    if bits + vectors < _PORTS:
        if bits < len(BITS) and not vectors:
            after[INPUTS[0]] = ("bind", ("ports", wide, bits + 1, 0))
        if wide and vectors < len(VECTORS):
            after[INPUTS[1]] = ("bind", ("ports", wide, bits, vectors + 1))
    if bits + vectors:
        for name in WIDTHS:
            register = name.startswith("output reg")
            if (bits or not register) and (wide or "W" not in name):
                then = ("clocked", bits, vectors, name, False) if register else ("plain", wide, bits, vectors)
                after[name] = ("bind", then)
    return after


def _expression(bits: int, vectors: int, register: str, pending: int, left: int) -> dict[str, Any]:
    """Return what may follow where so many operands are still to come, among them so many operators at most.

    Args:
        bits, vectors: inputs that may be read; with a register all but the clock.
        register: what declares the one that is written, "held" where it is only read, empty without one.
        pending, left: operands, operators.
    """

    def then(more: int, used: int) -> Any:
        return ("expression", bits, vectors, register, pending + more, left - used)

    leaves = [*BITS[bool(register) : bits], *VECTORS[:vectors], "0", "1", *(("q",) if register else ())]
    made = dict.fromkeys([*leaves, *(NUMBERS if vectors or "W" in register else ())], then(-1, 0))
    for names, more in ((UNARY, 0), (BINARY, 1), ((CHOICE,), 2)):
        if left and pending + more <= _PENDING:
            made |= dict.fromkeys(names, then(more, 1))
    if left and "W" in register and bits > 1:
        made |= dict.fromkeys(SHIFTS, ("shifted", bits, then(-1, 1)))
    return made


def draw(random: np.random.Generator, part: str) -> tuple[Module, str, list[str], dict[str, str]]:
    """Return a module of a part with its description, its program without END, and the names in it by role."""
    while True:
        module = drawn(random)
        if any(held_out(module)) != (part == "test"):
            continue
        try:
            text, order, names = described(module, random, kept=part == "phrasings")
        except TooLong:
            continue
        return module, text, module.program(order), names


def drawn_part(part: str) -> list[tuple[Module, str, list[str], dict[str, str]]]:
    """Return everything that is drawn for a part."""
    seed, count = PARTS[part]
    random = np.random.default_rng(seed)
    return [draw(random, part) for _ in range(count)]


def _make() -> dict[str, np.ndarray]:
    words = {word: place for place, word in enumerate(vocabulary())}
    arrays = {}
    for part in PARTS:
        every = drawn_part(part)
        programs = [[*(TOKENS.index(name) for name in names), END] for _, _, names, _ in every]
        arrays[f"{part}_programs"] = padded(programs, LONGEST_PROGRAM + 1, PADDING)
        told = [language.Description(text).tokens(words, LONGEST_DESCRIPTION) for _, text, _, _ in every]
        arrays[f"{part}_words"] = np.stack(told)
        kept = every[:_DEPLOYED_TRAIN] if part == "train" else every
        assert max(len(text) for _, text, _, _ in kept) <= _DESCRIPTION_BYTES
        arrays[f"{part}_description"] = np.stack(
            [language.bytes_of(text, _DESCRIPTION_BYTES) for _, text, _, _ in kept]
        )
    return arrays


@functools.cache
def _arrays() -> Any:
    return made_once("verilog-descriptions-v1", _make)


@functools.cache
def verilog_programs() -> Task:
    """Return the teacher-forced task: ``command`` and ``actions_in`` one-hot, programs as labels."""
    arrays = _arrays()

    def dataset(part: str) -> Dataset:
        programs = arrays[f"{part}_programs"]
        kinds = language.kinds_of(vocabulary())
        return Dataset(
            {
                "command": (arrays[f"{part}_words"][..., None] == np.arange(kinds)).view(np.uint8),  # as floats 1 GB
                "actions_in": one_hot(given_before(programs, END), len(TOKENS)),
            },
            programs,
        )

    return Task("verilog", dataset("train"), dataset("test"), PaddedCrossEntropy(), TOKEN_ACCURACY)


def verilog_descriptions(part: str = "test") -> Task:
    """Return the task as a device has it: ``description`` (bytes of text) to the program, tested on a part."""
    arrays = _arrays()

    def dataset(part: str) -> Dataset:
        told = arrays[f"{part}_description"]
        programs = arrays[f"{part}_programs"][: len(told)]
        return Dataset({"description": told}, np.where(programs == END, PADDING, programs)[:, :LONGEST_PROGRAM])

    return Task("verilog-descriptions", dataset("train"), dataset(part), None, EXACT_MATCH)


def trials(part: str, texts: list[str]) -> list[Trial]:
    """Return what was written for each description of a part, beside what it has to do."""
    every = drawn_part(part)
    return [
        Trial(text, names, bench(module, seed))
        for seed, (text, (module, _, _, names)) in enumerate(zip(texts, every, strict=True))
    ]


def held_out_in(part: str) -> list[tuple[bool, bool]]:
    """Say of each module of a part whether its combination of options, and its operation's width, is never trained."""
    return [held_out(module) for module, *_ in drawn_part(part)]
