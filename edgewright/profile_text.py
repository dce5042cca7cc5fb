"""A profile for people: a table by layer and one by operation, with shares, multiply-accumulates and bytes."""

from collections.abc import Iterator

from .inspection_text import _table
from .profile_values import ONLY, GraphTime, OperationProfile

_NOT_MAPPED, _RUNTIME = "(not mapped)", "(runtime)"


def profile_text(profile: OperationProfile, every: bool = True) -> str:
    """Return a profile as text; with ``every``, each operation too."""
    lines = [*_head(profile)]
    for graph in profile.graphs:
        lines += ["", *_graph(graph, every)]
    return "\n".join(lines)


def _head(profile: OperationProfile) -> Iterator[str]:
    yield f"{profile.source}: {profile.artifact} in {profile.runtime} {profile.runtime_version}, {profile.how}"
    yield f"  method     {profile.method}"
    yield f"  inputs     {profile.inputs}"
    yield f"  threads    {profile.threads}"
    yield f"  an answer  {_ms(profile.answer_ms)} ms without the profiler"
    if profile.host_ms is not None:
        for graph in profile.graphs:
            ms = graph.ms * graph.calls
            yield f"    {graph.name:20} {_ms(ms):>8} ms  {_share(ms, profile.answer_ms):>6}  {graph.calls:g} calls"
        yield f"    {'(host code)':20} {_ms(profile.host_ms):>8} ms  {_share(profile.host_ms, profile.answer_ms):>6}"


def _graph(graph: GraphTime, every: bool) -> Iterator[str]:
    name = "" if graph.name == ONLY else f" of {graph.name}"
    with_it = graph.profiled_ms / graph.ms if graph.ms else 0.0
    yield f"One inference{name}: {_ms(graph.ms)} ms; {with_it:.3g} times that with the profiler"
    yield (
        f"  the operations' times as the profiler told them add up to {graph.sum_over_whole:.3g} times an inference "
        f"without it; {100 * graph.mapped_share:.3g} % of their time has a Keras layer"
    )
    if graph.profiler_ms:
        yield (
            f"  {1e3 * graph.profiler_ms:.3g} microseconds are subtracted from each operation, so that they add up to "
            "an inference without the profiler"
        )
    yield ""
    heads = ("layer", "ms", "share", "operations", "MACs", "weights", "activations", "GMAC/s", "GB/s")
    yield from _table([heads, *_layers(graph)], right=range(1, 9))
    if every:
        yield ""
        yield from _each(graph)


def _layers(graph: GraphTime) -> Iterator[tuple[str, ...]]:
    for layer in graph.layers:
        yield (
            *(layer.layer or _NOT_MAPPED, _ms(layer.ms), _share(layer.ms, graph.ms), str(layer.operations)),
            *(f"{layer.macs:,}", f"{layer.weight_bytes:,}", f"{layer.activation_bytes:,}"),
            *map(_rate, layer.rates()),
        )
    yield (_RUNTIME, _ms(graph.runtime_ms), _share(graph.runtime_ms, graph.ms), "", "", "", "", "", "")
    macs, weights = (sum(getattr(each, name) for each in graph.operations) for name in ("macs", "weight_bytes"))
    yield ("all", _ms(graph.ms), "", str(len(graph.operations)), f"{macs:,}", f"{weights:,}", "", "", "")


def _each(graph: GraphTime) -> list[str]:
    heads = ("#", "operation", "unit", "ms", "share", "MACs", "bytes", "GMAC/s", "GB/s", "layer", "found by", "with")
    rows: list[tuple[str, ...]] = [heads]
    for place, each in enumerate(graph.operations):
        rows.append(
            (
                *(str(place), each.kind, each.unit.removesuffix("ExecutionProvider"), _ms(each.ms)),
                *(_share(each.ms, graph.ms), f"{each.macs:,}", f"{each.weight_bytes + each.activation_bytes:,}"),
                *map(_rate, each.rates()),
                *(each.layer or _NOT_MAPPED, each.mapped, ", ".join(each.also)),
            )
        )
    return _table(rows, right=(0, 3, 4, 5, 6, 7, 8))


def _ms(value: float) -> str:
    return f"{value:.4f}" if value < 10 else f"{value:.1f}"


def _share(value: float, whole: float) -> str:
    return f"{100 * value / whole:.1f} %" if whole else "-"


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
