"""Which operations of a TFLite file the Edge TPU takes, by the published operator table.

``edgetpu_compiler`` decides in the end: it also looks at shapes and sizes, and sends everything after the first
operation that it cannot take to the CPU. Without it, the mapping is a prediction.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources

from ..export._artifact import Artifact, Operation

_EIGHT_BIT = {"int8", "uint8"}
_BOUNDARY = {"QUANTIZE": "inputs", "DEQUANTIZE": "outputs"}


@dataclass(frozen=True)
class Unmapped:
    """An operation kind that stays on the CPU, and why, as the end of a sentence."""

    operation: Operation
    reason: str


@dataclass(frozen=True)
class EdgeTpuMapping:
    """Where the operations of a file run.

    Attributes:
        mapped: kinds that the Edge TPU takes.
        boundary: conversions of float inputs and outputs, which run on the CPU before and after it.
        unmapped: kinds that it does not take.
    """

    mapped: tuple[Operation, ...]
    boundary: tuple[Operation, ...]
    unmapped: tuple[Unmapped, ...]

    def sentence(self) -> str:
        """Return the mapping in one sentence that says it is predicted."""
        total = sum(operation.count for operation in (*self.mapped, *(entry.operation for entry in self.unmapped)))
        count = sum(operation.count for operation in self.mapped)
        text = f"The Edge TPU is predicted to take {count} of {total} operations by its operator table"
        missing = "; ".join(f"{entry.operation.name} {entry.reason}" for entry in self.unmapped)
        return f"{text}{': ' + missing if missing else ''}. Only edgetpu_compiler decides."


@cache
def operator_table() -> dict[str, str]:
    """Return the operations of the Edge TPU in TFLite's terms, each with its limitation in words, or ""."""
    text = (resources.files(f"{__package__}.profiles") / "edgetpu_ops.json").read_text(encoding="utf-8")
    return {entry["tflite_builtin"]: entry["limitation"] for entry in json.loads(text)["ops"]}


def map_operations(artifact: Artifact) -> EdgeTpuMapping:
    """Return which operations of a TFLite artifact the Edge TPU is predicted to take."""
    table = operator_table()
    mapped, boundary, unmapped = [], [], []
    for operation in artifact.operations:
        wide = sorted(set(operation.dtypes) - _EIGHT_BIT)
        if _converts_boundary(operation, artifact):
            boundary.append(operation)
        elif operation.name not in table:
            unmapped.append(Unmapped(operation, "is not in the table"))
        elif wide:
            unmapped.append(Unmapped(operation, f"works on {', '.join(wide)}, not on 8-bit integers"))
        else:
            mapped.append(operation)
    return EdgeTpuMapping(tuple(mapped), tuple(boundary), tuple(unmapped))


def _converts_boundary(operation: Operation, artifact: Artifact) -> bool:
    """Tell whether an operation only converts the file's float inputs or outputs."""
    if operation.name not in _BOUNDARY or "float32" not in operation.dtypes:
        return False
    tensors = artifact.inputs if _BOUNDARY[operation.name] == "inputs" else artifact.outputs
    return operation.count <= sum(tensor.dtype == "float32" for tensor in tensors)
