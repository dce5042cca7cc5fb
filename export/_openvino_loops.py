"""How often a Loop of an OpenVINO file runs, where its body counts by one from a constant and below one."""

from collections.abc import Callable
from typing import Any


def trips(
    loop: Any, start_of: Callable[[str | None], int | None], number_of: Callable[[Any], int | None]
) -> int | None:
    """Return how often the body of a loop runs at most, or None where the file does not tell.

    TensorFlow's loops end by a condition that the body computes, after it has counted: ``counter + 1 < limit``.

    Args:
        loop: the layer.
        start_of: the number that goes into one of its ports, by the port's id.
        number_of: the number that a constant layer of the body is.
    """
    body = loop.find("body")
    layers = {layer.get("id"): layer for layer in body.iterfind("layers/layer")}
    sources: dict[str | None, list[str | None]] = {}
    for edge in sorted(body.iterfind("edges/edge"), key=lambda edge: int(edge.get("to-port", 0))):
        sources.setdefault(edge.get("to-layer"), []).append(edge.get("from-layer"))
    ends = [
        entry.get("internal_layer_id")
        for entry in loop.iterfind("port_map/output")
        if entry.get("purpose") == "execution_condition"
    ]
    if len(ends) != 1:
        return None
    starts = {
        entry.get("internal_layer_id"): entry.get("external_port_id") for entry in loop.iterfind("port_map/input")
    }
    carried = {(edge.get("from-layer"), edge.get("to-layer")) for edge in loop.iterfind("back_edges/edge")}
    returned = {(sources.get(result, [None])[0], parameter) for result, parameter in carried}
    bounds: list[int] = []
    waiting = list(sources.get(ends[0], []))
    while waiting and len(bounds) < len(layers):
        key = waiting.pop()
        layer = layers.get(key)
        if layer is not None and layer.get("type") == "LogicalAnd":
            waiting += sources.get(key, [])
            continue
        if layer is None or layer.get("type") != "Less":
            return None
        counted, limit = sources[key]
        parameter = _counts(counted, layers, sources, number_of)
        end = number_of(layers[limit])
        start = start_of(starts.get(parameter)) if parameter is not None else None
        if end is None or start is None or (counted, parameter) not in returned:
            return None
        bounds.append(max(end - start, 1))
    return min(bounds, default=None)


def _counts(key: Any, layers: Any, sources: Any, number_of: Callable[[Any], int | None]) -> str | None:
    """Return the parameter that a layer adds one to, if that is what it does."""
    layer = layers.get(key)
    if layer is None or layer.get("type") != "Add":
        return None
    operands = [layers[source] for source in sources[key]]
    parameters = [operand.get("id") for operand in operands if operand.get("type") == "Parameter"]
    ones = [operand for operand in operands if operand.get("type") == "Const" and number_of(operand) == 1]
    return parameters[0] if len(parameters) == 1 and len(ones) == 1 else None
