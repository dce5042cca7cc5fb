"""Weights of an ONNX graph whose activations are quantized: int8 initializers with a scale for each output channel.

tf2onnx writes the fake quantization of activations as QuantizeLinear and DequantizeLinear pairs. What is multiplied
with them gets integers here, by the rule that the weights were rounded with (compress/_weight_quantizer.py), and
biases get the 32 bit integers that execution providers add to their accumulators.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from ..compress._weight_quantizer import quantized
from ._onnx_weights import graphs_of, store_int8

# By operation, the axis of the output channels in the weights.
_CHANNELS = {"Conv": 0, "ConvTranspose": 1, "MatMul": -1, "Gemm": 1}
_MOVES = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "MaxPool", "Flatten", "Identity")
# ONNX Runtime's: the first would put a pair behind each reshape, the second quantizes weights by a rule of its own.
_DISABLED = ["QDQPropagationTransformer", "WeightBiasQuantization"]
_PAIR = ("QuantizeLinear", "DequantizeLinear")
_LARGEST_BIAS = 2**31 - 1


def quantize_as_written(source: Path, target: Path, signed: bool = False) -> None:
    """Write the model at ``source`` to ``target`` with int8 weights, after ONNX Runtime has folded its constants.

    Args:
        source, target: files.
        signed: activations in int8 in the place of uint8, and biases in float, as TensorRT asks for.
    """
    import onnx
    import onnxruntime

    folded = target.with_name(f".{target.name}.folded")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folded)
    onnxruntime.InferenceSession(
        str(source),
        options,
        ["CPUExecutionProvider"],
        disabled_optimizers=_DISABLED,
    )
    model = quantize_weights(onnx.load(folded), not signed)
    _leave_outputs_float(model.graph)
    if signed:
        for graph in graphs_of(model.graph):
            _make_signed(graph)
    if len(list(graphs_of(model.graph))) > 1:
        # What a loop multiplies by comes in from outside: it is stored narrow, and the loop computes in float.
        _without_pairs_in_loops(model.graph)
        store_int8(model)
    else:
        _narrow_tables(model.graph)
        model = _with_short_names(model)
    onnx.save(model, target)
    folded.unlink()


def quantize_weights(model: Any, biases: bool = True) -> Any:
    """Return the model with int8 weights in each product of quantized activations, and an int32 bias if asked."""
    import onnx

    graph = model.graph
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    nodes = []
    for node in graph.node:
        weights = constants.get(node.input[1]) if node.op_type in _CHANNELS else None
        if weights is not None and weights.dtype == np.float32 and weights.ndim > 1:
            pair = _pair_of(node.input[0], constants, makers)
            if pair:
                nodes += _adjacent(node, pair, makers) + _quantize(graph, node, constants, pair[1] if biases else None)
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    _drop_unused(graph)
    return model


def _pair_of(name: str, constants: dict[str, np.ndarray], makers: dict[str, Any]) -> tuple[Any, Any] | None:
    """Return the QuantizeLinear and DequantizeLinear that a tensor comes from, moved at most; None without."""
    maker = _unmoved(name, makers)
    if maker is None or maker.op_type != "DequantizeLinear" or maker.input[0] in constants:
        return None
    # ONNX Runtime moves a Transpose in between the two.
    quantizer = _unmoved(maker.input[0], makers)
    return (quantizer, maker) if quantizer is not None and quantizer.op_type == "QuantizeLinear" else None


def _unmoved(name: str, makers: dict[str, Any]) -> Any:
    """Return the node that made a tensor's values, before they were moved; None for what no node makes."""
    maker = makers.get(name)
    while maker is not None and maker.op_type in _MOVES:
        maker = makers.get(maker.input[0])
    return maker


def _adjacent(node: Any, pair: tuple[Any, Any], makers: dict[str, Any]) -> list[Any]:
    """Repeat the pair in front of a node that it is not next to: runtimes look for it there; it changes nothing."""
    import onnx

    if makers[node.input[0]].op_type == "DequantizeLinear":
        return []
    names = [f"{node.name}/input_quantized", f"{node.name}/input"]
    made = [
        onnx.helper.make_node(each.op_type, [source, *each.input[1:]], [name], name=name)
        for each, source, name in zip(pair, (node.input[0], names[0]), names, strict=True)
    ]
    node.input[0] = names[1]
    return made


def _quantize(graph: Any, node: Any, constants: dict[str, np.ndarray], activations: Any) -> list[Any]:
    """Put integers in the place of a node's weights and bias; return the nodes that make floats of them.

    The bias stays where no DequantizeLinear of the activations is given.
    """
    import onnx

    weights = constants[node.input[1]]
    axis = _CHANNELS[node.op_type]
    if node.op_type == "Gemm" and any(each.name == "transB" and each.i for each in node.attribute):
        axis = 0
    axis %= weights.ndim
    integers, scale = quantized(weights, tuple(place for place in range(weights.ndim) if place != axis))
    scale = scale.reshape(-1).astype(np.float32)
    nodes = [_dequantized(graph, f"{node.name}/weights", integers, scale, axis)]
    node.input[1] = nodes[0].output[0]
    bias = constants.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    input_scale = constants.get(activations.input[1]) if activations is not None else None
    if bias is not None and input_scale is not None and input_scale.size == 1 and bias.size == scale.size:
        scale = scale * np.float32(input_scale.reshape(()))
        whole = np.clip(np.round(bias.reshape(-1) / scale), -_LARGEST_BIAS, _LARGEST_BIAS).astype(np.int32)
        nodes.append(_dequantized(graph, f"{node.name}/bias", whole, scale, 0))
        node.input[2] = nodes[1].output[0]
    assert isinstance(nodes[0], onnx.NodeProto)
    return nodes


def _make_signed(graph: Any) -> None:
    """Make int8 of the unsigned activations of a graph: all integers are 128 lower, zero points too."""
    import onnx

    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        zero = constants.get(node.input[2]) if node.op_type in _PAIR and len(node.input) > 2 else None
        if zero is not None and zero.data_type == onnx.TensorProto.UINT8:
            lower = onnx.numpy_helper.to_array(zero).astype(np.int16) - 128
            zero.CopyFrom(onnx.numpy_helper.from_array(lower.astype(np.int8), zero.name))
    del graph.value_info[:]


def _narrow_tables(graph: Any) -> None:
    """Quantize the tables whose rows are quantized where they are looked up: what is looked up is integers then."""
    import onnx

    constants = {tensor.name: tensor for tensor in graph.initializer}
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    outputs = {value.name for value in graph.output}
    taken_out = []
    for node in graph.node:
        table = constants.get(node.input[0]) if node.op_type == "Gather" else None
        after = readers.get(node.output[0], [])
        if table is None or len(after) != 1 or after[0].op_type != "QuantizeLinear" or node.output[0] in outputs:
            continue
        (quantizer,) = after
        scale, zero = (onnx.numpy_helper.to_array(constants[name]) for name in quantizer.input[1:])
        if scale.size > 1:
            continue
        limits = np.iinfo(zero.dtype)
        whole = np.round(onnx.numpy_helper.to_array(table) / scale) + zero.astype(np.int32)
        integers = np.clip(whole, limits.min, limits.max).astype(zero.dtype)
        node.input[0] = f"{node.name}/table"
        node.output[0] = quantizer.output[0]
        graph.initializer.append(onnx.numpy_helper.from_array(integers, node.input[0]))
        taken_out.append(quantizer)
    for quantizer in taken_out:
        graph.node.remove(quantizer)
    _drop_unused(graph)


def _dequantized(graph: Any, name: str, integers: np.ndarray, scale: np.ndarray, axis: int) -> Any:
    import onnx

    arrays = {name: integers, f"{name}_scale": scale, f"{name}_zero": np.zeros(scale.shape, integers.dtype)}
    for key, array in arrays.items():
        graph.initializer.append(onnx.numpy_helper.from_array(array, key))
    return onnx.helper.make_node("DequantizeLinear", list(arrays), [f"{name}_float"], name=f"{name}_real", axis=axis)


def _with_short_names(model: Any) -> Any:
    """Take out of all names what says nothing; in a small model names are most of the file."""
    graph = model.graph
    outer = {value.name for value in (*graph.input, *graph.output)}
    names = {name for node in graph.node for name in (*node.input, *node.output)}
    names |= {tensor.name for tensor in graph.initializer}
    taken, short = set(outer), {}
    for name in sorted(names - outer):
        wanted = name.replace("PartitionedCall/", "").replace("FakeQuantWithMinMaxVars", "q").removeprefix("inner/")
        short[name] = wanted if wanted not in taken else name
        taken.add(short[name])
    for node in graph.node:
        node.input[:] = [short.get(name, name) for name in node.input]
        node.output[:] = [short.get(name, name) for name in node.output]
        node.name = node.name.replace("PartitionedCall/", "").replace("FakeQuantWithMinMaxVars", "q")
    for tensor in graph.initializer:
        tensor.name = short.get(tensor.name, tensor.name)
    del graph.value_info[:]
    return model


def _leave_outputs_float(graph: Any) -> None:
    """Take out the pairs that only an output goes through: outputs are float, and rounding them is for nothing."""
    makers = {output: node for node in graph.node for output in node.output}
    readers = Counter(name for each in graphs_of(graph) for node in each.node for name in node.input)
    readers.update(value.name for value in graph.output)
    last = set()
    for value in graph.output:
        maker = makers.get(value.name)
        while maker is not None and readers[maker.output[0]] == 1:
            if maker.op_type == "DequantizeLinear":
                last.add(maker.output[0])
            if maker.op_type not in _MOVES:
                break
            maker = makers.get(maker.input[0])
    _without_pairs(graph, last)
    _drop_unused(graph)


def _without_pairs_in_loops(graph: Any) -> None:
    """Take pairs out of the bodies of loops, and in front of what these read from outside.

    ONNX Runtime 1.32 dies of the latter when it moves a pair behind a Reshape (QDQPropagationTransformer).
    """
    bodies = list(graphs_of(graph))[1:]
    read = {name for body in bodies for node in body.node for name in node.input}
    makers = {output: node for node in graph.node for output in node.output}
    pairs = (_unmoved(name, makers) for name in read)
    _without_pairs(graph, {node.output[0] for node in pairs if node is not None})
    for body in bodies:
        _without_pairs(body)
    for each in (graph, *bodies):
        _drop_unused(each)


def _without_pairs(graph: Any, only: set[str] | None = None) -> None:
    """Take each QuantizeLinear with its DequantizeLinear out of a graph, or those whose output is one of ``only``."""
    import onnx

    makers = {output: node for node in graph.node for output in node.output}
    sources = {}
    for node in graph.node:
        quantizer = makers.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if quantizer is not None and quantizer.op_type == "QuantizeLinear" and (only is None or node.output[0] in only):
            sources[node.output[0]] = quantizer.input[0]

    def source(name: str) -> str:
        while name in sources:
            name = sources[name]
        return name

    for inner in graphs_of(graph):
        for node in inner.node:
            node.input[:] = [source(name) for name in node.input]
    used = {name for inner in graphs_of(graph) for node in inner.node for name in node.input}
    outputs = {value.name for value in graph.output}
    made = {name for node in graph.node if node.output[0] not in sources for name in node.output} - outputs
    renamed: dict[str, str] = {}
    kept = []
    for node in graph.node:
        if node.output[0] in sources:
            if node.output[0] in outputs:
                before = source(node.output[0])
                if before in made and before not in renamed:
                    renamed[before] = node.output[0]
                else:
                    kept.append(onnx.helper.make_node("Identity", [before], [node.output[0]]))
        elif node.op_type != "QuantizeLinear" or node.output[0] in used | outputs:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
    for inner in graphs_of(graph):
        for node in inner.node:
            node.input[:] = [renamed.get(name, name) for name in node.input]
            node.output[:] = [renamed.get(name, name) for name in node.output]


def _drop_unused(graph: Any) -> None:
    used = {name for each in graphs_of(graph) for node in each.node for name in node.input}
    used |= {value.name for each in graphs_of(graph) for value in each.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
