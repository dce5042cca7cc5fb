"""What the small modules do, as arithmetic on Python's integers: ports, stimuli and the outputs that they must give.

Nothing of a module's Verilog is read here, so that a simulation of it is compared with something of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ._synthesis_verilog_host import WIDTHS
from ._synthesis_verilog_modules import Module

VECTORS, CYCLES, LONG = 80, 80, 140
_ACTIVE = {"reset": 0.15, "load": 0.2, "enable": 0.75}  # how often a control is active
_GATES = {"and": lambda x, y: x & y, "or": lambda x, y: x | y, "xor": lambda x, y: x ^ y}
_RELATIONS = {
    "==": lambda x, y: x == y,
    "!=": lambda x, y: x != y,
    "<": lambda x, y: x < y,
    ">": lambda x, y: x > y,
    "<=": lambda x, y: x <= y,
    ">=": lambda x, y: x >= y,
}

Values = dict[str, int]


@dataclass(frozen=True)
class Bench:
    """What a module is tried on.

    Attributes:
        inputs: by role the width in bits, in the order of the stimuli's rows.
        output: the output's width in bits.
        clock: "rising", "falling" or "none".
        idle: what the inputs are before the first stimulus.
        stimuli: the inputs without the clock, step by step.
        trace: for each step the output once the inputs are there, and with a clock also after its edge and after the
            opposite edge.
    """

    inputs: Mapping[str, int]
    output: int
    clock: str
    idle: Values
    stimuli: Sequence[Values]
    trace: Sequence[tuple[int, ...]]


def bench(module: Module, seed: int) -> Bench:
    """Return stimuli for a module, drawn by the seed, and the outputs that it must give."""
    inputs = {role: 1 for role in module.bits} | {role: module.width for role in module.vectors}
    output = WIDTHS[module.output](module.width)
    stimuli = _stimuli(module, inputs, np.random.default_rng(seed))
    if module.timing is None:
        return Bench(inputs, output, "none", dict.fromkeys(inputs, 0), stimuli,
                     [(meant(module, step, 0) % 2**output,) for step in stimuli])  # fmt: skip
    trace, state = [], 0
    idle = {role: int(_level(module, role) == "low") for role in inputs}
    for step in stimuli:
        if module.timing.reset[0] == "asynchronous" and _active(module, step, "reset"):
            state = _reset(module)
        before = _shown(module, step, state)
        state = _next(module, step, state)
        after = _shown(module, step, state)
        trace.append((before, after, after))
    return Bench(inputs, output, module.timing.edge, idle, stimuli, trace)


def _next(module: Module, step: Values, state: int) -> int:
    """Return the state after the clock's edge: reset before enable before load before the operation."""
    assert module.timing is not None
    if module.timing.reset[0] != "none" and _active(module, step, "reset"):
        return _reset(module)
    if module.timing.enable != "none" and not _active(module, step, "enable"):
        return state
    if module.timing.load != "none" and _active(module, step, "load"):
        return step["start"]
    return (step["a"] if module.family == "edge" else meant(module, step, state)) % 2**module.width


def _shown(module: Module, step: Values, state: int) -> int:
    return meant(module, step, state) % 2**module.width if module.family == "edge" else state


def _reset(module: Module) -> int:
    assert module.timing is not None
    return 0 if module.timing.reset[2] == "clear" else 2**module.width - 1


def _level(module: Module, role: str) -> str:
    timing = module.timing
    assert timing is not None
    return {"reset": timing.reset[1:2], "enable": (timing.enable,), "load": (timing.load,)}.get(role, ("none",))[0]


def _active(module: Module, step: Values, role: str) -> bool:
    return step[role] == int(_level(module, role) == "high")


def meant(module: Module, given: Mapping[str, int], state: int) -> int:
    """Return the operation's result as an integer, of which the output's bits count.

    Args:
        module: what it does.
        given: the inputs by role.
        state: of its register.
    """
    a, b, c, d = (given.get(role, 0) for role in "abcd")
    width, top = module.width, 2**module.width - 1

    def signed(value: int) -> int:
        return value - 2**width if value >= 2 ** (width - 1) else value

    def asked(role: str, level: str) -> bool:
        return given[role] == int(level == "high")

    match module.what:
        case ("gate", gate, count, inverted):
            values = [
                top - given[role] if role == inverted else given[role] for role in "abc"[: 2 + (count == "three")]
            ]
            plain = {"nand": "and", "nor": "or", "xnor": "xor"}.get(gate, gate)
            result = values[0]
            for value in values[1:]:
                result = _GATES[plain](result, value)
            return result if plain == gate else top - result
        case ("nested", outer, inner, way):
            result = _GATES[outer](a, _GATES[inner](b, c))
            return result if way == "plain" else top - result
        case ("mux", level):
            return a if asked("select", level) else b
        case ("four-way mux",):
            return (a, b, c, d)[2 * given["upper"] + given["lower"]]
        case ("compare", relation, signs):
            values = [signed(a), signed(b)] if signs == "signed" else [a, b]
            return int(_RELATIONS[relation](*values))
        case ("against", relation):
            return int(_RELATIONS[relation](a, module.number))
        case ("add", *_):
            return a + b + given.get("carry", 0)
        case ("subtract", _):
            return a - b - given.get("carry", 0)
        case ("add or subtract", level):
            return a - b if asked("mode", level) else a + b
        case ("reduce", kind):
            ones = a.bit_count()
            plain = {"nand": "and", "nor": "or", "xnor": "xor"}.get(kind, kind)
            return int({"and": ones == width, "or": ones > 0, "xor": ones % 2 == 1}[plain] == (plain == kind))
        case ("decode", enable, active):
            chosen = 2**a if enable == "none" or asked("enable", enable) else 0
            return chosen if active == "high" else 2 ** (2**width) - 1 - chosen
        case ("shift", side):
            return a * 2**module.number if side == "left" else a // 2**module.number
        case ("barrel", side):
            return a * 2**b if side == "left" else a // 2**b
        case ("extreme", which, signs):
            ordered = sorted((a, b), key=signed if signs == "signed" else int)
            return ordered[0] if which == "min" else ordered[1]
        case ("distance",):
            return abs(a - b)
        case ("offset", sign):
            return a + module.number if sign == "+" else a - module.number
        case ("product",):
            return a * b
        case ("negative",):
            return -a
    return _meant_next(module, given, state)


def _meant_next(module: Module, given: Mapping[str, int], state: int) -> int:
    width, top = module.width, 2**module.width - 1
    match module.what:
        case ("count", way, by):
            return state + (1 if way == "up" else -1) * (1 if by == "one" else module.number)
        case ("two-way count", level):
            return state + (1 if given["mode"] == int(level == "high") else -1)
        case ("modulo",):
            return 0 if state == module.number else state + 1
        case ("saturate", way):
            return min(state + 1, top) if way == "up" else max(state - 1, 0)
        case ("register",):
            return given["a"]
        case ("accumulate", sign):
            return state + given["a"] if sign == "+" else state - given["a"]
        case ("serial", side):
            return 2 * state + given["in"] if side == "left" else state // 2 + given["in"] * 2 ** (width - 1)
        case ("toggle", how):
            return 1 - state if how == "always" or given["asked"] else state
        case ("record", which):
            return min(state, given["a"]) if which == "min" else max(state, given["a"])
    (_, kind) = module.what
    changed = state ^ given["a"]
    return {"rising": changed & given["a"], "falling": changed & state, "any": changed}[kind]


def _stimuli(module: Module, inputs: Mapping[str, int], random: np.random.Generator) -> list[Values]:
    """Return random inputs with the cases that decide: equal values, none and all ones, values near the constant.

    With a register a long run without reset and load follows, so that a counter comes to its end.
    """
    clocked = module.timing is not None
    steps = []
    for number in range(CYCLES + LONG if clocked else VECTORS):
        step: Values = {}
        for role, width in inputs.items():
            if role == "clock":
                continue
            if clocked and role in _ACTIVE:
                active = random.random() < _ACTIVE[role] if number < CYCLES else role == "enable"
                step[role] = int(active == (_level(module, role) == "high"))
            elif clocked and number >= CYCLES and role == "mode":
                step[role] = int(number < CYCLES + LONG // 2)
            else:
                step[role] = _value(module, width, [step[other] for other in step if inputs[other] == width], random)
        steps.append(step)
    return steps


def _value(module: Module, width: int, others: list[int], random: np.random.Generator) -> int:
    value = int(random.integers(2**width))
    if width == 1:
        return value
    near = [module.number + int(random.integers(-1, 2))] if module.number else []
    special = [0, 2**width - 1, 2**width - 1 - 2 ** int(random.integers(width)), *others, *near, *near]
    return special[int(random.integers(len(special)))] % 2**width if random.random() < 0.45 else value
