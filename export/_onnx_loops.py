"""How often a Loop of an ONNX file runs, where its body counts by one from a constant and below one."""

import math
from collections.abc import Callable, Sequence
from typing import Any

_HAND_ON = ("Cast", "Identity")


def trips(body: Any, starts: Sequence[float | None], number_of: Callable[[str], float | None]) -> int | None:
    """Return how often the body of a loop runs at most, or None where the file does not tell.

    TensorFlow's loops end by a condition that the body computes, after it has counted: ``counter + 1 < limit``.

    Args:
        body: the loop's body.
        starts: the number that each of the loop's variables begins as, where it is a constant.
        number_of: the number that a name in the body stands for, where it is a constant.
    """
    makers = {name: node for node in body.node for name in node.output}

    def source(name: str) -> str:
        while name in makers and makers[name].op_type in _HAND_ON:
            name = makers[name].input[0]
        return name

    variables = {
        entry.name: (start, source(end.name))
        for entry, start, end in zip(body.input[2:], starts, body.output[1:], strict=False)
    }
    bounds: list[int] = []
    waiting = [source(body.output[0].name)]
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and node.op_type == "And":
            waiting += [source(name) for name in node.input]
            continue
        if node is None or node.op_type != "Less":
            return None
        counted, end = source(node.input[0]), number_of(source(node.input[1]))
        start, step = _counts(counted, makers, variables, source, number_of)
        if end is None or start is None or step != 1:
            return None
        bounds.append(max(math.ceil(end - start), 1))
    return min(bounds, default=None)


def _counts(
    counted: str,
    makers: dict[str, Any],
    variables: dict[str, tuple[float | None, str]],
    source: Callable[[str], str],
    number_of: Callable[[str], float | None],
) -> tuple[float | None, float | None]:
    """Return what a number begins as that is a variable with something added, and what is added; else None."""
    node = makers.get(counted)
    if node is None or node.op_type != "Add":
        return None, None
    for variable, step in (map(source, node.input), map(source, reversed(node.input))):
        if variable in variables and variables[variable][1] == counted:
            return variables[variable][0], number_of(step)
    return None, None
