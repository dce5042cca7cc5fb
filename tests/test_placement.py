"""Where the Edge TPU and XNNPACK run single operations, on graphs made by hand; and edgetpu_compiler's log."""

import pytest

from edgewright.devices._edgetpu_compiler import placement_of, read_log
from edgewright.devices._edgetpu_graph import edgetpu_parts, place_on_edgetpu
from edgewright.devices._xnnpack import place_on_xnnpack
from edgewright.export import Graph, Node, Value


def _value(shape, dtype="int8", **more):
    return Value("t", shape, dtype, None, scale=0.1, zero_point=0, scales=1, **more)


def _constant(shape=(), dtype="int8", **more):
    return _value(shape, dtype, constant=True, **{"numbers": None, **more})


def _one(kind, inputs, output, **settings):
    """Return a TFLite graph of one operation."""
    values = (*inputs, output)
    moving = tuple(place for place, value in enumerate(inputs) if not value.constant)
    node = Node(kind, 1, "", tuple(range(len(inputs))), (len(inputs),), 0, settings=settings)
    return Graph("tflite", moving, (len(inputs),), values, (node,))


IMAGE, KERNEL = _value((1, 8, 8, 4)), _constant((4, 3, 3, 4))


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (_one("CONV_2D", [IMAGE, KERNEL, _constant((4,), "int32")], IMAGE), ""),
        (_one("CONV_2D", [IMAGE, KERNEL], IMAGE, dilationHFactor=2, dilationWFactor=1), "dilation of 2 by 1"),
        (_one("CONV_2D", [IMAGE, _constant((4, 3, 3, 4), "int4")], IMAGE), "weights in int4"),
        (_one("CONV_2D", [_value((1, 8, 8, 4), "int16"), KERNEL], IMAGE), "works on int16"),
        (_one("CONV_2D", [_value((-1, 8, 8, 4)), KERNEL], IMAGE), "decided as the model runs"),
        (_one("FULLY_CONNECTED", [_value((1, 8)), _value((4, 8))], _value((1, 4))), "weights that are computed"),
        (_one("FULLY_CONNECTED", [_value((6, 8)), _constant((4, 8))], _value((6, 4))), "6 x 4, which is not one-dim"),
        (_one("FULLY_CONNECTED", [_value((1, 8)), _constant((4, 8))], _value((1, 4)), weightsFormat=1), "shuffled"),
        (_one("ADD", [_value((2, 8, 8, 4)), _value((2, 8, 8, 4))], _value((2, 8, 8, 4))), "three innermost sizes"),
        (_one("ADD", [_value((1, 1, 8, 8, 4)), _constant((4,))], _value((1, 1, 8, 8, 4))), ""),
        (_one("MAX_POOL_2D", [IMAGE], IMAGE, fusedActivationFunction="RELU"), "RELU fused"),
        (_one("CONCATENATION", [IMAGE, _constant((1, 8, 8, 2))], IMAGE), "only be zeros"),
        (_one("CONCATENATION", [IMAGE, _constant((1, 8, 8, 2), zero=True)], IMAGE), ""),
        (_one("CONCATENATION", [IMAGE, IMAGE, _constant((1, 8, 8, 2), zero=True)], IMAGE), "one of two"),
        (_one("MEAN", [IMAGE, _constant((2,), "int32", numbers=(1, 2))], _value((1, 4))), ""),
        (_one("MEAN", [IMAGE, _constant((1,), "int32", numbers=(0,))], _value((8, 8, 4))), "reduces the batch"),
        (
            _one("MEAN", [_value((1, 8, 8, 6)), _constant((1,), "int32", numbers=(-1,))], _value((1, 8, 8))),
            "4 does not",
        ),
        (_one("SUM", [IMAGE, _value((2,), "int32")], _value((1, 4))), "works on int32"),
        (_one("PACK", [_value((8, 4)), _value((8, 4))], _value((2, 8, 4)), axis=0), "packs along the batch"),
        (_one("PAD", [IMAGE, _constant((4, 2), "int32", numbers=(1, 0, 0, 0, 0, 0, 0, 0))], IMAGE), "pads the batch"),
        (_one("PAD", [IMAGE, _constant((4, 2), "int32", numbers=(0, 0, 1, 1, 1, 1, 0, 0))], IMAGE), ""),
        (_one("PRELU", [IMAGE, _constant((8, 1, 4))], IMAGE), "slopes of 8 x 1 x 4"),
        (_one("SOFTMAX", [_value((1, 10))], _value((1, 10))), ""),
        (_one("SOFTMAX", [_value((1, 6, 10))], _value((1, 6, 10))), "not one-dimensional"),
        (_one("SOFTMAX", [_value((1, 16001))], _value((1, 16001))), "16,000 are allowed"),
        (_one("SPLIT", [_constant((), "int32", numbers=(0,)), IMAGE], IMAGE), "splits the batch"),
        (_one("SQUEEZE", [_value((1, 5, 10))], _value((5, 10)), squeezeDims=[0]), ""),
        (_one("SQUEEZE", [_value((5, 1, 10))], _value((5, 10)), squeezeDims=[1]), "not among the leading"),
        (
            _one(
                "STRIDED_SLICE",
                [IMAGE, *[_constant((4,), "int32", numbers=numbers) for numbers in ((0,) * 4, (8,) * 4, (1, 2, 1, 1))]],
                _value((1, 4, 8, 4)),
            ),
            "strides of 1, 2, 1, 1",
        ),
        (_one("GELU", [IMAGE], IMAGE), "is not in the table"),
        (_one("TRANSPOSE", [IMAGE, _constant((4,), "int32")], IMAGE), ""),
    ],
)
def test_the_edge_tpus_limits_hold(graph, reason):
    """An operation that breaks a limit of the published table stays on the CPU, and the reason says which."""
    (placed,) = place_on_edgetpu(graph, 7.67).placed
    assert (placed.unit == "Edge TPU") == (not reason)
    assert reason in placed.reason


def _chain(*kinds, macs=100, channels=4):
    """Return a TFLite graph of int8 operations one after the other, each with a kernel."""
    kernel = Value("kernel", (channels, 1, 1, channels), "int8", channels**2, constant=True, scale=0.1, scales=1)
    values, nodes = [_value((1, 8, 8, 4))], []
    for place, kind in enumerate(kinds):
        values += [_constant((4, 1, 1, 4)), Value(f"after {place}", (1, 8, 8, 4), "int8", 256, scale=0.1, scales=1)]
        values[-2] = kernel
        before = 0 if place == 0 else 2 * place
        nodes.append(Node(kind, 1, "", (before, 2 * place + 1), (2 * place + 2,), macs if kind == "CONV_2D" else 0))
    return Graph("tflite", (0,), (2 * len(kinds),), tuple(values), tuple(nodes))


def test_what_follows_an_unmapped_operation_stays_on_the_cpu_and_a_cut_is_named():
    """After the first operation off the table all run on the CPU; the heaviest stretch is offered as its own file."""
    placement = place_on_edgetpu(_chain("CONV_2D", "GELU", "CONV_2D", "CONV_2D", "CONV_2D", "EXP"), 7.67)
    assert [entry.unit for entry in placement.placed] == ["Edge TPU"] + 5 * ["CPU"]
    assert placement.how == "predicted" and placement.facts["macs_share"] == 0.25
    assert placement.facts["parts_if_several_were_allowed"] == 2
    split = placement.facts["split"]
    assert split["macs_share"] == 0.75
    assert [(part["unit"], part["operations"]) for part in split["parts"]] == [
        ("CPU", [0, 1]),
        ("Edge TPU", [2, 3, 4]),
        ("CPU", [5]),
    ]
    assert [(part["inputs"], part["outputs"]) for part in split["parts"]] == [
        (["t"], ["after 1"]),
        (["after 1"], ["after 4"]),
        (["after 4"], ["after 5"]),
    ]
    text = " ".join(placement.sentences)
    assert "75.0% of the" in text and "CPU (CONV_2D, GELU), then Edge TPU (3 CONV_2D), then CPU (EXP)" in text
    assert "split" not in place_on_edgetpu(_chain("CONV_2D", "CONV_2D", "GELU"), 7.67).facts


def _units(graph):
    return [(part.unit, part.nodes) for part in edgetpu_parts(graph)]


def test_there_are_no_more_parts_than_bring_more_to_the_edge_tpu():
    """At most three files; a tail alone is no reason for a cut, and what gains nothing is not cut off."""
    head = _chain("EXP", "CONV_2D", "CONV_2D")
    assert _units(head) == [("CPU", (0,)), ("Edge TPU", (1, 2))]
    between = _chain("CONV_2D", "GELU", "CONV_2D")
    assert _units(between) == [("Edge TPU", (0,)), ("CPU", (1,)), ("Edge TPU", (2,))]
    assert _units(_chain("CONV_2D", "GELU", "RESHAPE")) == []
    assert _units(_chain("CONV_2D", "RESHAPE", "CONV_2D")) == []
    assert _units(_chain("GELU", "EXP")) == []
    many = _chain(*["CONV_2D", "GELU"] * 6, "CONV_2D", "CONV_2D")
    assert _units(many) == [("Edge TPU", (0,)), ("CPU", tuple(range(1, 12))), ("Edge TPU", (12, 13))]


def test_a_side_branch_that_is_refused_goes_before_the_body():
    """What the Edge TPU cannot take is computed first where it waits for nothing, wherever it stands in the file."""
    values = [_value((1, 8, 8, 4)), _value((1, 8, 8, 4)), _constant((4, 1, 1, 4)), *[_value((1, 8, 8, 4))] * 5]
    nodes = (
        Node("CONV_2D", 1, "", (0, 2), (3,), 100),
        Node("CONV_2D", 1, "", (3, 2), (4,), 100),
        Node("GELU", 1, "", (1,), (5,), 0),
        Node("ADD", 1, "", (4, 5), (6,), 0),
        Node("CONV_2D", 1, "", (6, 2), (7,), 100),
    )
    graph = Graph("tflite", (0, 1), (7,), tuple(values), nodes)
    assert _units(graph) == [("CPU", (2,)), ("Edge TPU", (0, 1, 3, 4))]


def test_parameters_beyond_the_cache_are_streamed():
    """What the chip does not hold is sent at every inference, operation by operation; one that fits sends none."""
    graph = _chain(*["CONV_2D"] * 10, channels=1024)
    placement = place_on_edgetpu(graph, 7.97)
    assert placement.facts["parameter_bytes"] == 10 * 2**20
    # Each of 1024 channels holds a bias and a scale too, so seven kernels find room, not nearly eight.
    assert placement.facts["streamed_bytes"] == 3 * 1024 * (1024 + 8)
    assert placement.facts["cached_bytes"] == 7 * 1024 * (1024 + 8)
    assert any("3.02 MiB are sent" in sentence for sentence in placement.sentences)
    assert place_on_edgetpu(graph, 16).facts["streamed_bytes"] == 0


def test_a_compiled_file_is_known_as_one():
    """A file with edgetpu_compiler's operation is not predicted about."""
    placement = place_on_edgetpu(_chain("edgetpu-custom-op", "SOFTMAX"), 7.67)
    assert placement.how == "edgetpu_compiler"
    assert [entry.unit for entry in placement.placed] == ["Edge TPU", "CPU"]


# A compiler's output as its users published it (a detector of 36 operations; long lines and paths shortened).
LOG = """Edge TPU Compiler version 15.0.340273435

Model compiled successfully in 577 ms.

Input model: yolov3-tiny_int8.tflite
Input size: 8.58MiB
Output model: yolov3-tiny_int8_edgetpu.tflite
Output size: 8.70MiB
On-chip memory used for caching model parameters: 3.00KiB
On-chip memory remaining for caching model parameters: 7.67MiB
Off-chip memory used for streaming uncached model parameters: 0.00B
Number of Edge TPU subgraphs: 1
Total number of operations: 36
Operation log: yolov3-tiny_int8_edgetpu.log

Model successfully compiled but not all operations are supported by the Edge TPU.
Number of operations that will run on Edge TPU: 2
Number of operations that will run on CPU: 34

Operator                       Count      Status

MAX_POOL_2D                    6          More than one subgraph is not supported
QUANTIZE                       2          Operation is otherwise supported, but not mapped due to some limitation
QUANTIZE                       1          Mapped to Edge TPU
QUANTIZE                       1          More than one subgraph is not supported
CONV_2D                        1          Mapped to Edge TPU
CONV_2D                        12         More than one subgraph is not supported
RESIZE_NEAREST_NEIGHBOR        1          Operation version not supported
LEAKY_RELU                     11         Operation not supported
CONCATENATION                  1          More than one subgraph is not supported
"""
# One of an older release, with every operation mapped and most parameters streamed.
OLD_LOG = """Edge TPU Compiler version 2.0.291256449

Model compiled successfully in 2356 ms.

On-chip memory available for caching model parameters: 6.25MiB
On-chip memory used for caching model parameters: 6.25MiB
Off-chip memory used for streaming uncached model parameters: 18.43MiB
Number of Edge TPU subgraphs: 1
Total number of operations: 77
Operation log: resnet50_edgetpu.log
See the operation log file for individual operation details.
"""


def test_the_compilers_log_is_read():
    """Counts, bytes and each operation's status come out of the compiler's log, and it is named as what decided."""
    log = read_log(LOG)
    assert log.version == "15.0.340273435" and log.compiled
    assert (log.cached_bytes, log.remaining_bytes, log.streamed_bytes) == (3072, round(7.67 * 2**20), 0)
    assert (log.parts, log.operations, log.on_edgetpu, log.on_cpu) == (1, 36, 2, 34)
    assert sum(group.count for group in log.groups) == 36
    assert sum(group.count for group in log.groups if group.unit == "Edge TPU") == 2
    placement = placement_of(log)
    assert placement.how == "edgetpu_compiler 15.0.340273435"
    assert "2 of 36 operations" in placement.sentences[0]
    old = read_log(OLD_LOG)
    assert (old.on_edgetpu, old.on_cpu, old.streamed_bytes) == (77, 0, round(18.43 * 2**20))
    assert not read_log("ERROR: Model not quantized").compiled


FLOATS = Value("t", (1, 8), "float32", None)


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (_one("FULLY_CONNECTED", [FLOATS, _constant((4, 8), "int4")], FLOATS), ""),
        (_one("FULLY_CONNECTED", [FLOATS, _constant((4, 9), "int4")], FLOATS), "rows of odd length"),
        (_one("FULLY_CONNECTED", [FLOATS, _constant((4, 8), "float32", sparse=True)], FLOATS), "without their zeros"),
        (_one("FULLY_CONNECTED", [FLOATS, FLOATS], FLOATS), "computed as the model runs"),
        (_one("DEPTHWISE_CONV_2D", [FLOATS, _constant((1, 3, 3, 8))], FLOATS), "quantizes its input"),
        (_one("CONV_2D", [FLOATS, _constant((4, 3, 3, 8), "int4")], FLOATS), "less than 8 bits"),
        (_one("ADD", [FLOATS, FLOATS], FLOATS, fusedActivationFunction="TANH"), "TANH fused"),
        (_one("ADD", [_value((1, 8)), _value((1, 8))], Value("t", (1, 8), "int8", 8, scale=1e-4)), "1e+03 times"),
        (_one("SPLIT", [FLOATS], FLOATS), ""),
        (_one("ADD", [_value((1, 8), "int16")], _value((1, 8), "int16")), "works on int16"),
    ],
)
def test_xnnpacks_limits_hold(graph, reason):
    """Each limit that was seen in LiteRT keeps an operation out of XNNPACK, and the reason names it."""
    (placed,) = place_on_xnnpack(graph).placed
    assert (placed.unit == "XNNPACK") == (not reason)
    assert reason in placed.reason
