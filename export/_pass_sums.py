"""Pass that writes a sum which Keras wrote as a bias as a sum again, in loops too.

At batch 1 Keras takes a layer's row ``[1, units]`` for a bias: it squeezes it to ``[units]`` and adds that by BiasAdd.
In a recurrent cell the row is the state's product: tf2onnx knows an LSTM by the sum alone, and makes one operation of
it instead of a loop; elsewhere each step has an operation less.
"""

from collections.abc import Sequence
from typing import Any

from ._frozen_graph import Replace, Value, copied, functions_of
from ._pass import Pass, Work

_LOOPS = frozenset({"While", "StatelessWhile"})


def replacing(work: Work) -> Replace:
    """Replace each such sum, those of loops in a copy of the loop's body."""
    made: list[str] = []

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        import tensorflow as tf

        if operation.type == "BiasAdd" and _is_a_sum(operation):
            row = operation.inputs[1].op.inputs[0]
            return [tf.raw_ops.AddV2(x=value(operation.inputs[0]), y=value(row))]
        if operation.type not in _LOOPS:
            return None
        (body,) = functions_of(operation, "body")
        sums = {inner.name for inner in body.get_operations() if inner.type == "BiasAdd" and _is_a_sum(inner)}
        if not sums:
            return None
        made.append(_with_sums(operation, sums, f"sums_{len(made)}"))
        return copied(operation, [value(tensor) for tensor in operation.inputs], body=made[-1])

    return replace


def _is_a_sum(bias_add: Any) -> bool:
    """Tell whether what a BiasAdd adds is a squeezed row ``[1, ..., 1, units]`` of no more axes than the other has."""
    total, bias = bias_add.inputs
    if bias.op.type != "Squeeze" or bias_add.get_attr("data_format") != b"NHWC":
        return False
    shape, row = total.shape, bias.op.inputs[0].shape
    if shape.rank is None or not row.rank:
        return False
    # In a loop's body the units are often unknown; a bias has as many as what it is added to.
    return row.rank <= shape.rank and all(size == 1 for size in row.as_list()[:-1])


def _with_sums(loop: Any, sums: set[str], suffix: str) -> str:
    """Put a copy of a loop's body, with sums for some of its operations, into the traced graph; return its name."""
    import tensorflow as tf

    name = loop.get_attr("body").name
    functions = loop.graph.as_graph_def().library.function
    copy = type(functions[0])()
    copy.CopyFrom(next(function for function in functions if function.signature.name == name))
    copy.signature.name = f"{name}_{suffix}"
    nodes = {node.name: node for node in copy.node_def}
    for each in sums:
        node = nodes[each]
        squeeze = nodes[node.input[1].split(":")[0]]
        node.op, node.input[1] = "AddV2", squeeze.input[0]
        del node.attr["data_format"]
        for reader in copy.node_def:
            reader.input[:] = [f"{each}:z:0" if given == f"{each}:output:0" else given for given in reader.input]
        for key, given in copy.ret.items():
            copy.ret[key] = f"{each}:z:0" if given == f"{each}:output:0" else given
    library = tf.compat.v1.GraphDef()
    library.library.function.append(copy)
    tf.graph_util.import_graph_def(library, name="")
    return str(copy.signature.name)


PASSES = (
    Pass(
        "plain-sums",
        "Of a recurrent layer whose sums are biases tf2onnx makes a loop instead of one operation.",
        frozenset({"Squeeze"}),
        replacing,
        formats=frozenset({"onnx"}),
        counted=frozenset({"BiasAdd", *_LOOPS}),
    ),
)
