"""The child process that opens a user's float file: ``python -m edgewright.export._import_in_child FILE FORMAT OUT``.

It writes the file with a batch of 1, and as one file, to OUT, and prints the inputs whose batch was open as JSON.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from ._names import plain_name
from ._onnx_signature import at_batch_1, renamed
from ._tflite_batch import shapes_at_batch_1
from ._tflite_flatbuffer import unpacked


def main(source: str, format: str, target: str) -> None:
    """Write a user's file with a batch of 1; what needs no change is copied."""
    fixed = {"onnx": _onnx, "tflite": _tflite}[format](source, target)
    print(json.dumps([plain_name(name) for name in fixed]))


def _onnx(source: str, target: str) -> list[str]:
    """Names of inputs and outputs become plain, for runtimes do not agree on others; data beside the file goes in."""
    import onnx

    model = onnx.load(source)
    outside = _bytes(model) != _bytes(onnx.load(source, load_external_data=False))
    before = _bytes(model)
    fixed = at_batch_1(model)
    names = [value.name for value in (*model.graph.input, *model.graph.output)]
    plain = [plain_name(name) for name in names]
    if plain != names and len(set(plain)) == len(plain):
        renamed(model, plain)
    if outside or _bytes(model) != before:
        onnx.save(model, target)
    else:
        shutil.copyfile(source, target)
    return fixed


def _bytes(model: Any) -> bytes:
    return bytes(model.SerializeToString(deterministic=True))


def _tflite(source: str, target: str) -> list[str]:
    """Write over the sizes that are open those at a batch of 1; nothing in the file moves."""
    from ai_edge_litert import schema_py_generated as schema

    content = bytearray(Path(source).read_bytes())
    model = schema.Model.GetRootAs(content, 0)
    shapes = shapes_at_batch_1(unpacked(bytes(content)), bytes(content))
    fixed = []
    for place in range(model.SubgraphsLength()):
        graph = model.Subgraphs(place)
        tensors = [graph.Tensors(index) for index in range(graph.TensorsLength())]
        if place == 0:
            inputs = [tensors[graph.Inputs(index)] for index in range(graph.InputsLength())]
            fixed = [tensor.Name().decode() for tensor in inputs if _open(tensor)]
        for index, tensor in enumerate(tensors):
            if _open(tensor):
                tensor.ShapeAsNumpy()[:] = shapes.get((place, index), tensor.ShapeAsNumpy())
                tensor.ShapeSignatureAsNumpy()[:] = tensor.ShapeAsNumpy()
    Path(target).write_bytes(content)
    return fixed


def _open(tensor: Any) -> bool:
    return bool(tensor.ShapeSignatureLength()) and bool((tensor.ShapeSignatureAsNumpy() < 0).any())


if __name__ == "__main__":
    main(*sys.argv[1:])
