"""A TFLite file of the operation that sorts a detector's boxes."""

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from edgewright.export._work import DETECTIONS


def detector(boxes, classes, options, kind=DETECTIONS):
    """Return a TFLite file of the operation that sorts boxes, or of another of one's own, alone; of none for None."""
    shapes = (("boxes", (1, boxes, 4)), ("scores", (1, boxes, classes)), ("sorted", (1, 7, 4)))
    tensors = []
    for name, shape in shapes:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name, list(shape), 0
        tensors.append(tensor)
    operator, code, subgraph, model = schema.OperatorT(), schema.OperatorCodeT(), schema.SubGraphT(), schema.ModelT()
    operator.inputs, operator.outputs, operator.customOptions = [0, 1], [2], list(options)
    code.builtinCode = schema.BuiltinOperator.CUSTOM
    code.deprecatedBuiltinCode, code.customCode = schema.BuiltinOperator.CUSTOM, kind
    subgraph.tensors, subgraph.inputs, subgraph.outputs = tensors, [0, 1], [2]
    subgraph.operators = [operator] if kind else []
    model.version, model.subgraphs, model.operatorCodes, model.buffers = 3, [subgraph], [code], [schema.BufferT()]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
