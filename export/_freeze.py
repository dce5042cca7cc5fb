"""A Keras model as one graph with static shapes and constants for weights: what every converter starts from.

The graph is frozen before conversion because the TFLite converter fails on READ_VARIABLE at calibration, and saved with
a signature because TFLite's inputs and outputs come in any order and are matched by name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..compress._calibration import Range
from ..errors import InputError
from ..train._data_file import outside_type
from ..train._training import input_of, output_names
from ._artifact import Tensor
from ._draws import check_draws
from ._exportable import blaming, check_exportable, no_table
from ._graph import einsum_macs, product
from ._grouped_volumes import without_groups
from ._unconverted import layers_by_type

if TYPE_CHECKING:
    import keras

SIGNATURE = "serving_default"
# The mark of a function that TensorFlow compiles as a whole.
_COMPILED = "_XlaMustCompile"
_WRITES = ("AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp")
_TRANSPOSED = ("Conv2DBackpropInput", "Conv3DBackpropInputV2")


@dataclass(frozen=True)
class Frozen:
    """A frozen graph on disk.

    Attributes:
        folder: a SavedModel that holds no variables, with the signature ``serving_default``; of an imported model the
            user's float file.
        inputs, outputs: its tensors, at batch 1, by the names of the Keras model or the file.
        macs: multiply-accumulates of one inference.
        parameters: weights and biases of the model.
        quantized: whether the ranges of its activations are written into it, as fake quantization.
        types: of its operations, those in loops included.
        imported: the format of the user's file, such as "onnx"; empty for a graph of Keras.
        layers: by the type of an operation, a layer that holds one.
    """

    folder: Path
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    macs: int
    parameters: int
    quantized: bool = False
    types: frozenset[str] = frozenset()
    imported: str = ""
    layers: Mapping[str, str] = field(default_factory=dict)


def freeze(model: "keras.Model", folder: Path, ranges: Mapping[str, Range] | None = None) -> Frozen:
    """Trace ``model`` at batch 1, turn its variables into constants and save the graph in ``folder``.

    Args:
        model: the model.
        folder: a new folder.
        ranges: of the activations at the model's points; they are written into the graph, for converters to quantize
        by.

    Raises:
        InputError: an input has an unknown dimension besides the batch; a name that no graph can have; a model that
            cannot be run.
    """
    import keras
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from ..compress._activations import fake_quantizer
    from ..compress._points import run_at_points

    check_exportable(model)
    specs = [
        tf.TensorSpec((1, *tensor.shape[1:]), outside_type(tensor.dtype), name=tensor.name) for tensor in model.inputs
    ]
    names = output_names(model)

    def call(*arrays: Any) -> list[Any]:
        by_name = {spec.name: array for spec, array in zip(specs, arrays, strict=True)}
        structured = keras.tree.map_structure(
            lambda tensor: tf.cast(by_name[tensor.name], tensor.dtype), input_of(model)
        )
        if ranges is None:
            outputs = model(structured, training=False)
        else:
            outputs = run_at_points(model, structured, fake_quantizer(ranges), frozenset(ranges))
        return [tf.cast(tensor, outside_type(tensor.dtype.name)) for tensor in keras.tree.flatten(outputs)]

    with blaming(model):
        graph = tf.function(call, input_signature=specs, autograph=False).get_concrete_function()
    _check_writes_nothing(graph.graph, model.name)
    # Loops stay loops: taken apart, their shapes are unknown.
    frozen = convert_variables_to_constants_v2(graph, lower_control_flow=False)
    if tables := [tensor for tensor in frozen.inputs if tensor.dtype == tf.resource]:
        raise no_table(tables[0].op.name.removeprefix(f"{model.name}/"))
    frozen = without_groups(_without_compiled(frozen))
    check_draws(frozen.graph, lambda: _at_batch_2(call, specs), model.name)
    for name, tensor in zip(names, frozen.outputs, strict=True):
        if tensor.shape.rank is None:
            raise InputError(
                f"Expected outputs whose dimensions are known as the model is traced. Got: {name!r}, of unknown shape, "
                "as behind a function that calls Python. Write that layer in keras.ops alone."
            )
    module = tf.Module()

    @tf.function(input_signature=specs, autograph=False)
    def serve(*arrays: Any) -> dict[str, Any]:
        return dict(zip(names, frozen(*arrays), strict=True))

    # Gradients of operations that define their own (SiLU) cannot be saved from a frozen graph, and are not needed.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, str(folder), signatures={SIGNATURE: serve}, options=options)
    return Frozen(
        folder=folder,
        inputs=tuple(Tensor(spec.name, tuple(spec.shape), spec.dtype.name) for spec in specs),
        outputs=tuple(
            Tensor(name, tuple(tensor.shape), tensor.dtype.name)
            for name, tensor in zip(names, frozen.outputs, strict=True)
        ),
        macs=_macs(frozen.graph),
        parameters=int(model.count_params()),
        quantized=ranges is not None,
        types=types_in(frozen.graph.as_graph_def()),
        layers=layers_by_type(frozen.graph, (layer.name for layer in model._flatten_layers(include_self=False))),
    )


def _check_writes_nothing(graph: Any, model: str) -> None:
    """Raise InputError for a graph that writes variables as it runs, which are constants in an exported file."""
    for operation in graph.get_operations():
        if operation.type in _WRITES:
            layer = operation.name.rpartition("/")[0].partition("/")[2] or model
            raise InputError(
                f"Expected a model that writes no variable as it is run. Got: {layer!r}, which keeps something from "
                "one call to the next: an exported file holds constants. Make what is kept an input and an output "
                "(stateful=False, initial_state, return_state=True), and draw random numbers outside of the model."
            )


def _at_batch_2(call: Any, specs: Sequence[Any]) -> Any:
    """Return the graph of ``call`` without variables for a batch of 2 in the place of 1."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    specs = [tf.TensorSpec((2, *spec.shape[1:]), spec.dtype, name=spec.name) for spec in specs]
    traced = tf.function(call, input_signature=specs, autograph=False).get_concrete_function()
    return convert_variables_to_constants_v2(traced, lower_control_flow=False).graph


def _without_compiled(frozen: Any) -> Any:
    """Return a frozen function in which the operations of compiled functions stand among the others.

    Keras compiles a convolution in groups as a function of its own, which converters do not look into, and whose result
    has no known shape.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    definition = frozen.graph.as_graph_def()
    functions = definition.library.function
    compiled = {each.signature.name for each in functions if _COMPILED in each.attr}
    if not compiled:
        return frozen
    nodes = [*definition.node, *(node for function in functions for node in function.node_def)]
    for function in functions:
        if function.signature.name in compiled:
            function.signature.name += "_plain"  # TensorFlow knows the other by its name
    for node in nodes:
        if "f" in node.attr and node.attr["f"].func.name in compiled:
            node.attr["f"].func.name += "_plain"
    for each in (*nodes, *functions):
        for mark in (_COMPILED, "_noinline"):
            each.attr.pop(mark, None)
    inputs, outputs = ([tensor.name for tensor in side] for side in (frozen.inputs, frozen.outputs))

    def call(*arrays: Any) -> Any:
        return tf.graph_util.import_graph_def(definition, dict(zip(inputs, arrays, strict=True)), outputs, name="")

    specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in frozen.inputs]
    return convert_variables_to_constants_v2(tf.compat.v1.wrap_function(call, specs), lower_control_flow=False)


def types_in(definition: Any) -> frozenset[str]:
    """Return the types of the operations in a GraphDef, those of its functions included."""
    nodes = [*definition.node, *(node for function in definition.library.function for node in function.node_def)]
    return frozenset(node.op for node in nodes)


def _macs(graph: Any) -> int:
    """Return the multiply-accumulates of a graph.

    Of matrix products and convolutions half of TensorFlow's own flop counts; of a transposed convolution, one for each
    input element and each weight that it is multiplied by; of Einsum, and of a product that is summed up, such as the
    messages of a graph network, one for each product. What has a size that is decided as the model runs counts none.
    """
    from tensorflow.python.framework import ops

    total = 0.0
    for operation in graph.get_operations():
        if operation.type == "Einsum":
            shapes = [
                tensor.shape.as_list() if tensor.shape.is_fully_defined() else None for tensor in operation.inputs
            ]
            total += einsum_macs(operation.get_attr("equation").decode(), shapes) or 0
        elif operation.type == "Sum" and _multiplies_two(operation.inputs[0].op):
            total += operation.inputs[0].shape.num_elements() or 0
        elif operation.type in _TRANSPOSED:
            _, kernel, given = (tensor.shape for tensor in operation.inputs)
            total += product(given.num_elements(), kernel[:-1].num_elements()) or 0
        elif operation.type in ("Conv2D", "Conv3D", "DepthwiseConv2dNative", "MatMul", "BatchMatMul", "BatchMatMulV2"):
            tensors = (*operation.inputs, *operation.outputs)
            if all(tensor.shape.is_fully_defined() for tensor in tensors):
                total += (ops.get_stats_for_node_def(graph, operation.node_def, "flops").value or 0) / 2
    return int(total)


def _multiplies_two(operation: Any) -> bool:
    """Tell whether an operation multiplies two tensors; squares that are summed up are a norm, which does not count."""
    return operation.type == "Mul" and operation.inputs[0] is not operation.inputs[1]
