"""How often a WHILE of a TFLite file runs, where the file tells: a counter, by one, from and below a constant."""

from collections.abc import Callable, Sequence
from typing import Any

from ._graph import Value

Scope = tuple[Any, Sequence[Value]]


def trips(scopes: Sequence[Scope], loop: Any, kind_of: Callable[[Any], str]) -> int | None:
    """Return how often the body of a loop runs, or None where the file does not tell.

    Args:
        scopes: the subgraphs that hold the loop, its condition and its body, each with its values.
        loop: the WHILE operation.
        kind_of: an operation's kind.
    """
    outer, condition, body = scopes
    bounds = []
    for operator in condition[0].operators if condition[0].operators is not None else ():
        kind = kind_of(operator)
        if kind == "LOGICAL_AND":
            continue
        if kind != "LESS":
            return None
        counter, limit = (int(index) for index in operator.inputs)
        place = _place(condition[0].inputs, counter)
        end = _number(condition[1], limit)
        if end is None:
            end = _unchanged(outer, body, loop, _place(condition[0].inputs, limit))
        start = None if place is None else _number(outer[1], int(loop.inputs[place]))
        if place is None or end is None or start is None or not _counts(body, place, kind_of):
            return None
        bounds.append(max(end - start, 0))
    return min(bounds, default=None)


def _unchanged(outer: Scope, body: Scope, loop: Any, place: int | None) -> int | None:
    """Return the number of a loop's variable that its body hands on as it is."""
    if place is None or int(body[0].outputs[place]) != int(body[0].inputs[place]):
        return None
    return _number(outer[1], int(loop.inputs[place]))


def _counts(body: Scope, place: int, kind_of: Callable[[Any], str]) -> bool:
    """Tell whether a body adds one to a loop's variable."""
    entry, end = int(body[0].inputs[place]), int(body[0].outputs[place])
    for operator in body[0].operators if body[0].operators is not None else ():
        if end in operator.outputs and kind_of(operator) == "ADD":
            others = [int(index) for index in operator.inputs if int(index) != entry]
            return len(others) == 1 and _number(body[1], others[0]) == 1
    return False


def _place(tensors: Any, wanted: int) -> int | None:
    return next((place for place, index in enumerate(tensors) if int(index) == wanted), None)


def _number(values: Sequence[Value], index: int) -> int | None:
    if not 0 <= index < len(values):
        return None
    numbers = values[index].numbers
    return int(numbers[0]) if numbers is not None and len(numbers) == 1 else None
