"""Small Verilog modules: which there are, how they are drawn, and the program that each one is as tokens.

A module is an operation with options, a width and, where it is clocked, an edge, a reset, an enable and a load. What it
does is written down twice: as Verilog here, and as arithmetic in ``_synthesis_verilog_reference``.
"""

import itertools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ._synthesis_verilog_host import BITS, NAMES, NUMBERS, VECTORS

LEVELS = ("high", "low")
GATES = {"and": "&", "or": "|", "xor": "^", "nand": "~ &", "nor": "~ |", "xnor": "~ ^"}
RELATIONS = ("==", "!=", "<", ">", "<=", ">=")
REDUCTIONS = {"and": "all", "or": "any", "xor": "odd", "nand": "~ all", "nor": "~ any", "xnor": "~ odd"}
_SIGNS, _SIDES = ("unsigned", "signed"), ("left", "right")
_WIDTHS = (2, 3, 4, 5, 6, 7, 8, 10, 12, 16)
_FEW = (2, 3, 4, 5, 6)  # where the register has to come to its end within a test
_HELD_OUT = 5  # one in so many

# By family of operations: its options, its share among the operations of its kind, and the widths, 1 for single bits.
COMBINATIONAL = {
    "gate": ((tuple(GATES), ("two", "three"), ("none", "a", "b", "c")), 3, (1, *_WIDTHS)),
    "nested": ((("and", "or", "xor"), ("and", "or", "xor"), ("plain", "inverted")), 3, (1, *_WIDTHS)),
    "mux": ((LEVELS,), 2, (1, *_WIDTHS)),
    "four-way mux": ((), 1, _WIDTHS),
    "compare": ((RELATIONS, _SIGNS), 3, _WIDTHS),
    "against": ((RELATIONS,), 1, _WIDTHS),
    "add": ((("plain", "carry"), ("same", "wide")), 2, _WIDTHS),
    "subtract": ((("plain", "borrow"),), 1, _WIDTHS),
    "add or subtract": ((LEVELS,), 1, _WIDTHS),
    "reduce": ((tuple(REDUCTIONS),), 2, _WIDTHS),
    "decode": ((("none", *LEVELS), LEVELS), 2, (2, 3, 4)),
    "shift": ((_SIDES,), 1, (4, 5, 6, 7, 8, 10, 12, 16)),
    "barrel": ((_SIDES,), 1, _WIDTHS),
    "extreme": ((("min", "max"), _SIGNS), 2, _WIDTHS),
    "distance": ((), 1, _WIDTHS),
    "offset": ((("+", "-"),), 1, _WIDTHS),
    "product": ((), 1, _WIDTHS),
    "negative": ((), 1, _WIDTHS),
}
SEQUENTIAL = {
    "count": ((("up", "down"), ("one", "several")), 4, _WIDTHS),
    "two-way count": ((LEVELS,), 2, _WIDTHS),
    "modulo": ((), 2, _FEW),
    "saturate": ((("up", "down"),), 2, _FEW),
    "register": ((), 2, (1, *_WIDTHS)),
    "accumulate": ((("+", "-"),), 2, _WIDTHS),
    "serial": ((_SIDES,), 3, _WIDTHS),
    "toggle": ((("always", "asked"),), 2, (1,)),
    "record": ((("min", "max"),), 1, _WIDTHS),
    "edge": ((("rising", "falling", "any"),), 3, (1, *_WIDTHS)),
}
FAMILIES = {**COMBINATIONAL, **SEQUENTIAL}
_LOADED = ("count", "two-way count", "modulo", "saturate", "serial")
_WITH_NUMBER = ("against", "shift", "offset", "modulo")


@dataclass(frozen=True)
class Timing:
    """When a register changes.

    Attributes:
        edge: of the clock, "rising" or "falling".
        reset: ("none",), or whether it waits for the clock ("synchronous", "asynchronous"), the level at which it is
            active, and what it does ("clear", "preset").
        enable, load: the level at which they are active, or "none".
    """

    edge: str
    reset: tuple[str, ...]
    enable: str
    load: str


@dataclass(frozen=True)
class Module:
    """What a module does.

    Attributes:
        what: its family and options, such as ("gate", "nand", "two", "none").
        width: of its data in bits; 1 for single bits.
        number: the constant in it; 0 for none.
        timing: None without a register.
    """

    what: tuple[str, ...]
    width: int
    number: int = 0
    timing: Timing | None = None

    @property
    def family(self) -> str:
        """What kind of operation it is."""
        return self.what[0]

    @property
    def bits(self) -> tuple[str, ...]:
        """The roles of the inputs of one bit, in the order of declaration."""
        timed = [] if self.timing is None else ["clock", *self._controls(self.timing)]
        return (*timed, *self._own_bits(), *(self._data() if self.width == 1 else ()))

    @property
    def vectors(self) -> tuple[str, ...]:
        """The roles of the inputs as wide as the module."""
        loaded = ("start",) if self.timing is not None and self.timing.load != "none" else ()
        return (*(self._data() if self.width > 1 else ()), *loaded)

    @property
    def output(self) -> str:
        """The token that declares the output."""
        if self.timing is not None and self.family != "edge":
            return "output reg [W]" if self.width > 1 else "output reg"
        match self.what:
            case ("compare" | "against" | "reduce", *_):
                return "output"
            case ("add", _, "wide"):
                return "output [W+1]"
            case ("product",):
                return "output [2W]"
            case ("decode", *_):
                return "output [2**W]"
        return "output [W]" if self.width > 1 else "output"

    @staticmethod
    def _controls(timing: Timing) -> list[str]:
        levels = {"reset": timing.reset[0], "enable": timing.enable, "load": timing.load}
        return [role for role, level in levels.items() if level != "none"]

    def _own_bits(self) -> tuple[str, ...]:
        """Return the roles of what is one bit at every width."""
        match self.what:
            case ("mux", _):
                return ("select",)
            case ("four-way mux",):
                return ("upper", "lower")
            case ("add", "carry", _) | ("subtract", "borrow"):
                return ("carry",)
            case ("add or subtract", _) | ("two-way count", _):
                return ("mode",)
            case ("decode", enable, _) if enable != "none":
                return ("enable",)
            case ("serial", _):
                return ("in",)
            case ("toggle", "asked"):
                return ("asked",)
        return ()

    def _data(self) -> tuple[str, ...]:
        """Return the roles of the inputs that are as wide as the module."""
        match self.what:
            case ("gate", _, "three", _) | ("nested", *_):
                return ("a", "b", "c")
            case ("four-way mux",):
                return ("a", "b", "c", "d")
            case ("gate" | "mux" | "compare" | "subtract" | "barrel" | "extreme" | "distance" | "product", *_):
                return ("a", "b")
            case ("add" | "add or subtract", *_):
                return ("a", "b")
            case ("count" | "two-way count" | "modulo" | "saturate" | "serial" | "toggle", *_):
                return ()
        return ("a",)

    def program(self, order: Sequence[str]) -> list[str]:
        """Return the tokens' names without END.

        Args:
            order: the roles, "module" and "output" among them, in the order in which the description names them; and
                "width" and "number" where it tells these.
        """
        names = dict(zip([role for role in order if role not in ("width", "number")], NAMES, strict=False))
        numbers = dict(zip([role for role in order if role in ("width", "number")], NUMBERS, strict=False))
        made = [names["module"], *([numbers["width"]] if self.width > 1 else [])]
        for kind, roles in (("input", self.bits), ("input [W]", self.vectors)):
            made += [token for role in roles for token in (kind, names[role])]
        made += [self.output, names["output"]]
        slots = {role: slot for roles, every in ((self.bits, BITS), (self.vectors, VECTORS))
                 for role, slot in zip(roles, every, strict=False)}  # fmt: skip
        slots |= {"k": numbers.get("number", "")}
        written = [slots.get(token, token) for token in self.written().split()]
        if self.timing is None:
            return [*made, "assign", *written]
        if self.family == "edge":
            return [*made, "reg [W]" if self.width > 1 else "reg", *self._clocked(slots, [slots["a"]]),
                    "assign", *written]  # fmt: skip
        return [*made, *self._clocked(slots, written)]

    def _clocked(self, slots: dict[str, str], written: list[str]) -> list[str]:
        assert self.timing is not None
        made = ["posedge" if self.timing.edge == "rising" else "negedge"]
        match self.timing.reset:
            case ("asynchronous", level, value):
                made += ["or posedge" if level == "high" else "or negedge", slots["reset"], value]
            case ("synchronous", level, value):
                made += [_test(level), slots["reset"], value]
        if self.timing.enable != "none":
            made += [_test(self.timing.enable), slots["enable"]]
        loaded = {"none": [], "high": ["?:", slots.get("load", ""), slots.get("start", ""), *written],
                  "low": ["?:", slots.get("load", ""), *written, slots.get("start", "")]}  # fmt: skip
        return [*made, "q <=", *(loaded[self.timing.load] or written)]

    def written(self) -> str:
        """Return the operation as Verilog in prefix notation: tokens, roles of inputs, ``k`` for the number."""
        match self.what:
            case ("gate", gate, count, inverted):
                a, b, c = (f"~ {role}" if role == inverted else role for role in "abc")
                invert, _, sign = GATES[gate].rpartition(" ")
                return f"{invert} {sign} {a} {b}" if count == "two" else f"{invert} {sign} {sign} {a} {b} {c}"
            case ("nested", outer, inner, way):
                return f"{'~ ' if way == 'inverted' else ''}{GATES[outer]} a {GATES[inner]} b c"
            case ("mux", level):
                return "?: select a b" if level == "high" else "?: select b a"
            case ("four-way mux",):
                return "?: upper ?: lower d c ?: lower b a"
            case ("compare", relation, signs):
                return f"{relation} $signed a $signed b" if signs == "signed" else f"{relation} a b"
            case ("against", relation):
                return f"{relation} a k"
            case ("add", carry, _):
                return "+ + a b carry" if carry == "carry" else "+ a b"
            case ("subtract", borrow):
                return "- - a b carry" if borrow == "borrow" else "- a b"
            case ("add or subtract", level):
                return "?: mode - a b + a b" if level == "high" else "?: mode + a b - a b"
            case ("reduce", kind):
                return f"{REDUCTIONS[kind]} a"
            case ("decode", enable, active):
                chosen = {"none": "<< 1 a", "high": "?: enable << 1 a 0", "low": "?: enable 0 << 1 a"}[enable]
                return chosen if active == "high" else f"~ {chosen}"
            case ("shift", side):
                return "<< a k" if side == "left" else ">> a k"
            case ("barrel", side):
                return "<< a b" if side == "left" else ">> a b"
            case ("extreme", which, signs):
                relation = ("<" if which == "min" else ">") + (" $signed a $signed b" if signs == "signed" else " a b")
                return f"?: {relation} a b"
            case ("distance",):
                return "?: < a b - b a - a b"
            case ("offset", sign):
                return f"{sign} a k"
            case ("product",):
                return "* a b"
            case ("negative",):
                return "negate a"
        return self._written_next()

    def _written_next(self) -> str:
        """Return what a register becomes; of an edge detector the output."""
        match self.what:
            case ("count", way, by):
                return f"{'+' if way == 'up' else '-'} q {'1' if by == 'one' else 'k'}"
            case ("two-way count", level):
                return "?: mode + q 1 - q 1" if level == "high" else "?: mode - q 1 + q 1"
            case ("modulo",):
                return "?: == q k 0 + q 1"
            case ("saturate", way):
                return "?: all q q + q 1" if way == "up" else "?: any q - q 1 q"
            case ("register",):
                return "a"
            case ("accumulate", sign):
                return f"{sign} q a"
            case ("serial", side):
                return "{q, in" if side == "left" else ",q} in"
            case ("toggle", how):
                return "~ q" if how == "always" else "^ q asked"
            case ("record", which):
                return f"?: {'<' if which == 'min' else '>'} a q a q"
        (_, kind) = self.what
        return {"rising": "& a ~ q", "falling": "& ~ a q", "any": "^ a q"}[kind]


def _test(level: str) -> str:
    return "if" if level == "high" else "if !"


def operations(family: str) -> list[tuple[str, ...]]:
    """Return the family with each combination of its options."""
    every = [(family, *options) for options in itertools.product(*FAMILIES[family][0])]
    return [what for what in every if what[2:] != ("two", "c")]


def held_out(module: Module) -> tuple[bool, bool]:
    """Say whether a module's combination of options is kept for the test, and whether its operation's width is.

    A combination is one of several options or of an operation and a timing; a single option is always trained.
    """
    combined = module.timing is not None or len(module.what) > 2
    options = combined and _kept((module.what, repr(module.timing)))
    return options, len(FAMILIES[module.family][2]) > 1 and _kept((module.what, module.width))


def _kept(combination: tuple[object, ...]) -> bool:
    return zlib.crc32(repr(combination).encode()) % _HELD_OUT == 0


def drawn(random: np.random.Generator) -> Module:
    """Return a module: combinational in 45 %, of a family by its share, with any options, width and timing."""
    families = COMBINATIONAL if random.random() < 0.45 else SEQUENTIAL
    shares = np.array([share for _, share, _ in families.values()])
    family = list(families)[int(random.choice(len(families), p=shares / shares.sum()))]
    every = operations(family)
    what = every[int(random.integers(len(every)))]
    width = int(random.choice(FAMILIES[family][2]))
    number = 0
    if family in _WITH_NUMBER or "several" in what:
        top = width if family == "shift" else min(2**width, 100)
        number = int(random.choice([number for number in range(2, top) if number != width]))
    return Module(what, width, number, _timing(random, what) if families is SEQUENTIAL else None)


def _timing(random: np.random.Generator, what: tuple[str, ...]) -> Timing:
    def pick(*choices: str) -> str:
        return choices[int(random.integers(len(choices)))]

    reset: tuple[str, ...] = ("none",)
    falls = what in (("saturate", "down"), ("record", "min"))  # from zero, where it starts, it could not
    if falls or random.random() < 0.75:
        value = "preset" if falls else pick("clear", "clear", "preset")
        reset = (pick("synchronous", "asynchronous"), pick(*LEVELS), value)
    enable = pick("none", *LEVELS)
    load = pick("none", "none", *LEVELS) if what[0] in _LOADED else "none"
    return Timing(pick("rising", "rising", "falling"), reset, enable, load)
