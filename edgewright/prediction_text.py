"""A prediction for people: latency, memory and energy with their intervals, and the operations that take longest."""

from collections.abc import Iterator

from .figures import Figure
from .predicting import Prediction

_MIB = 2**20


def prediction_text(prediction: Prediction) -> str:
    """Return a prediction as text."""
    return "\n".join(_lines(prediction))


def _lines(prediction: Prediction) -> Iterator[str]:
    yield f"{prediction.path}: {prediction.format} {prediction.precision}, {prediction.macs:,} MACs an inference"
    where = f"{prediction.runtime}, {prediction.unit}" if prediction.runtime else "not run there"
    yield f"  device   {prediction.title}: {where}"
    if prediction.latency_ms:
        yield f"  latency  {_figure(prediction.latency_ms, 1, 'ms')}"
        yield f"           {prediction.latency_ms.basis}"
    if prediction.memory_bytes:
        memory = prediction.memory_bytes
        yield f"  memory   {_figure(memory.total_bytes, _MIB, 'MiB')} at its peak beyond Python and NumPy"
        parts = ", ".join(f"{part.name} {part.bytes / _MIB:.4g} ({part.how})" for part in memory.parts)
        yield f"           MiB: {parts}"
    if prediction.energy_mj:
        yield f"  energy   {_figure(prediction.energy_mj, 1, 'mJ')}"
        yield f"           {prediction.energy_mj.basis}"
    if prediction.operations:
        yield f"  the {len(prediction.operations)} operations that take longest:"
        for operation in prediction.operations:
            yield f"    {operation.latency_ms:10.4g} ms {operation.share:6.1%}  {operation.name}"
    for note in prediction.notes:
        yield f"  note     {note}"


def _figure(figure: Figure, unit: float, name: str) -> str:
    if figure.low is None or figure.high is None:
        return f"{figure.value / unit:.4g} {name} or more ({figure.how} of what is counted)"
    return f"{figure.value / unit:.4g} {name} ({figure.low / unit:.4g} to {figure.high / unit:.4g}, {figure.how})"
