"""One exported file and what is known about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Tensor:
    """An input or output of an artifact.

    Attributes:
        name: the Keras model's name for it.
        shape: static, the batch of 1 included.
        dtype: as stored in the file, such as "int8".
        scale, zero_point: of a quantized tensor, ``real = scale * (stored - zero_point)``; None for a float one.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


@dataclass(frozen=True)
class Operation:
    """An operation kind in an artifact: its name in the format's own terms, its tensors' types, how many there are.

    Attributes:
        name: such as "FULLY_CONNECTED" or "QLinearConv".
        dtypes: the types of its non-constant inputs and its outputs, sorted and distinct, such as ("int8",).
        count: how often it occurs.
    """

    name: str
    dtypes: tuple[str, ...]
    count: int


@dataclass(frozen=True)
class Artifact:
    """One exported model file.

    Attributes:
        path: the file that a runtime loads.
        format: "tflite", "onnx" or "openvino".
        precision: such as "float32", "int8" or "int4_weights".
        graph: which graph of the deployment it is; "model" where there is but one.
        inputs, outputs: its signature.
        sha256: of ``path``.
        size_bytes, gzip_bytes: of ``path`` and its companions together.
        companions: files that must lie beside ``path`` (OpenVINO's weights), with their SHA-256.
        macs: multiply-accumulates of one inference at batch 1; 0 where they could not be counted.
        parameters: weights and biases in the model.
        operations: what the file is made of.
        work: what one inference takes, by kind of work; see ``_work.py``. Empty where the file was not read for it: it
            stands in no manifest.
    """

    path: Path
    format: str
    precision: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    sha256: str
    size_bytes: int
    gzip_bytes: int
    companions: tuple[tuple[Path, str], ...] = ()
    macs: int = 0
    parameters: int = 0
    operations: tuple[Operation, ...] = field(default=())
    graph: str = "model"
    work: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its format and precision, such as "tflite int8"."""
        return f"{self.format} {self.precision}"


def read_tensors(documents: list[dict[str, Any]]) -> tuple[Tensor, ...]:
    """Return the tensors that ``asdict`` and JSON made plain data of."""
    return tuple(Tensor(**{**document, "shape": tuple(document["shape"])}) for document in documents)


def read_operations(documents: list[dict[str, Any]]) -> tuple[Operation, ...]:
    """Return the operations that ``asdict`` and JSON made plain data of."""
    return tuple(Operation(**{**document, "dtypes": tuple(document["dtypes"])}) for document in documents)
