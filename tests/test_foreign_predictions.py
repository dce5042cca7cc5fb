"""Predictions for files that edgewright did not write: what they do is counted, or it is said what is not."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewright import devices, predict
from edgewright.devices import loads_on
from edgewright.errors import InputError
from edgewright.export import Graph, read_graph
from edgewright.export._graph import Node, Value, einsum_macs
from edgewright.export._precision import precision_of
from edgewright.export._work import MULTIPLYING, total, work_of

_PI = "raspberry-pi-4b"


def _saved(path, nodes, given, made, weights=(), functions=(), domains=(), opset=17):
    """Write an ONNX file of float32 tensors: ``given`` and ``made`` are shapes by name, ``weights`` arrays by name."""

    def typed(shapes):
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]

    stored = [numpy_helper.from_array(array, name) for name, array in dict(weights).items()]
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    graph = helper.make_graph(nodes, "made", typed(given), typed(made), stored)
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=list(functions)), path)
    return path


def _products(path, size):
    """Write a file of two products of one row with [size, size] weights."""
    kernel = np.ones((size, size), np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("MatMul", ["y", "v"], ["z"])]
    return _saved(path, nodes, {"x": (1, size)}, {"z": (1, size)}, {"w": kernel, "v": kernel})


def _latency(path, device, **more):
    (found,) = predict(path, device, **more)
    return found.latency_ms


def test_a_gpu_takes_at_least_as_long_as_its_memory_for_the_weights(tmp_path):
    """Neither the latency of a Jetson's GPU nor its interval lies below what reading the weights once takes."""
    bandwidth = devices.get("jetson-orin-nano").memory.bandwidth_gbytes_per_s.value
    figure = _latency(_products(tmp_path / "a.onnx", 2048), "jetson-orin-nano")
    assert figure.value >= figure.low >= 2 * 4 * 2048**2 / (bandwidth * 1e6)
    (found,) = predict(tmp_path / "a.onnx", "jetson-orin-nano", costliest=100)
    assert sum(each.latency_ms for each in found.operations) == pytest.approx(found.latency_ms.value)


def test_threads_of_the_host_do_not_speed_up_a_gpu(tmp_path):
    """A GPU's latency is the same however many threads its host has."""
    path = _products(tmp_path / "a.onnx", 64)
    assert _latency(path, "jetson-orin-nano", threads=1) == _latency(path, "jetson-orin-nano", threads=4)


def test_a_small_file_is_told_to_be_faster_on_one_thread(tmp_path):
    """Waking threads costs more than a small product: the prediction names what one takes; a large one has no note."""
    small, large = _products(tmp_path / "small.onnx", 16), _products(tmp_path / "large.onnx", 2048)
    (found,) = predict(small, "raspberry-pi-5")
    alone = _latency(small, "raspberry-pi-5", threads=1)
    assert alone.value < found.latency_ms.value
    assert f"On one thread it is predicted to take less, {alone.value:.3g} ms: --threads 1." in found.notes
    assert not any("On one thread" in note for note in predict(large, "raspberry-pi-5")[0].notes)
    assert not any("On one thread" in note for note in predict(small, "raspberry-pi-5", threads=4)[0].notes)


def test_no_interval_begins_below_what_the_cores_can_compute(tmp_path):
    """A product of matrices on four Cortex-A72 takes no less than their vector units need for it."""
    nodes = [helper.make_node("MatMul", ["x", "y"], ["z"])]
    path = _saved(tmp_path / "a.onnx", nodes, {"x": (512, 512), "y": (512, 512)}, {"z": (512, 512)})
    clock = devices.get(_PI).cpu.clock_ghz.value
    assert _latency(path, _PI).low >= 512**3 / (4 * 4 * clock * 1e6) * 0.999


def test_a_slice_reads_no_more_than_it_writes(tmp_path):
    """Four of a million numbers are picked at the cost of four, not of a million."""
    numbers = {name: np.array([value]) for name, value in (("from", 0), ("to", 4), ("axis", 1))}
    nodes = [helper.make_node("Slice", ["x", "from", "to", "axis"], ["y"])]
    path = _saved(tmp_path / "a.onnx", nodes, {"x": (1, 1 << 20)}, {"y": (1, 4)}, numbers)
    assert total(work_of(read_graph(path)))["moved"] == 2 * 4 * 4


@pytest.mark.parametrize(
    ("equation", "shapes", "macs"),
    [
        ("ij,jk->ik", [(2, 3), (3, 5)], 30),
        ("ij,jk,kl->il", [(2, 3), (3, 5), (5, 7)], 30 + 70),
        ("ij,jk,kl", [(2, 3), (3, 5), (5, 7)], 30 + 70),
        ("...ij,...jk->...ik", [(4, 2, 3), (3, 5)], 4 * 30),
        ("...ij,...jk", [(1, 9, 2, 3), (4, 1, 3, 5)], 36 * 30),
        ("ij->ji", [(2, 3)], 0),
        ("ij,jk->ik", [(2, 3), None], None),
        ("ij,jk->ik", [(2, 3)], None),
        ("ij,jk->ik", [(2, 3, 4), (3, 5)], None),
    ],
)
def test_an_einsum_multiplies_two_factors_at_a_time(equation, shapes, macs):
    """Three matrices are two products, not one over all labels at once; an ellipsis stands for the axes that it has."""
    assert einsum_macs(equation, shapes) == macs


def test_a_models_own_functions_are_looked_into(tmp_path):
    """What a function of the model multiplies counts as if it stood in the graph."""
    body = [helper.make_node("MatMul", ["a", "b"], ["c"]), helper.make_node("Relu", ["c"], ["d"])]
    function = helper.make_function("mine", "Big", ["a", "b"], ["d"], body, [helper.make_opsetid("", 17)])
    nodes = [helper.make_node("Big", ["x", "w"], ["y"], domain="mine")]
    weights = {"w": np.ones((8, 16), np.float32)}
    path = _saved(tmp_path / "a.onnx", nodes, {"x": (4, 8)}, {"y": (4, 16)}, weights, [function], ["mine"])
    assert read_graph(path).macs == 4 * 8 * 16
    assert not any("Not counted" in note for note in predict(path, _PI)[0].notes)


def test_what_is_not_counted_leaves_no_interval(tmp_path):
    """An operation that nobody knows leaves a latency of the rest, without an interval; it may not even load."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("Mystery", ["y"], ["z"], domain="elsewhere"),
    ]
    weights = {"w": np.ones((8, 16), np.float32)}
    path = _saved(tmp_path / "a.onnx", nodes, {"x": (4, 8)}, {"z": (4, 16)}, weights, domains=["elsewhere"])
    (found,) = predict(path, _PI)
    assert found.latency_ms.value > 0
    assert found.latency_ms.low is found.latency_ms.high is found.energy_mj.low is found.energy_mj.high is None
    said = " ".join(found.notes)
    assert "Not counted: elsewhere.Mystery" in said
    assert "elsewhere.Mystery, which is no operation of the format's own" in said


def test_sizes_that_nothing_tells_leave_no_interval(tmp_path):
    """Operations on tensors of open sizes are named, and a latency of the rest alone has no interval."""
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    (opened,) = predict(_saved(tmp_path / "open.onnx", nodes, {"x": (1, "wide")}, {"y": (1, "wide")}), _PI)
    assert opened.latency_ms.low is opened.latency_ms.high is opened.energy_mj.low is None
    assert "counted as nothing: Relu." in " ".join(opened.notes)
    (known,) = predict(_saved(tmp_path / "known.onnx", nodes, {"x": ("batch", 9)}, {"y": ("batch", 9)}), _PI)
    assert known.latency_ms.low and "counted as nothing" not in " ".join(known.notes)


@pytest.mark.parametrize("runtime", ["ONNX Runtime", "onnx runtime", "onnxruntime"])
def test_a_runtime_is_asked_for_by_either_name(runtime, tmp_path):
    """The profile's name or that of the other commands; one that the device lacks is refused."""
    path = _products(tmp_path / "a.onnx", 4)
    (found,) = predict(path, _PI, runtime=runtime)
    assert found.runtime == "ONNX Runtime"
    with pytest.raises(InputError, match="Expected a runtime of Raspberry Pi 4 Model B: LiteRT, "):
        predict(path, _PI, runtime="tflite_runtime")


def test_an_operation_of_tensorflow_runs_on_no_device():
    """A TFLite file that falls back to TensorFlow asks for a delegate that no device's runtime has."""
    values = (Value("x", (2, 2), "float32", 16), Value("y", (2, 2), "float32", 16))
    node = Node("FlexMatrixInverse", 1, "", (0,), (1,), None, custom=True)
    loads = loads_on(devices.get(_PI), Graph("tflite", (0,), (1,), values, (node,)))
    assert loads.ok is False
    assert "FlexMatrixInverse" in loads.sentence


def test_a_file_of_views_takes_one_inference(tmp_path):
    """A file whose operations all cost nothing takes what any inference does, and lists just that."""
    path = _saved(tmp_path / "a.onnx", [helper.make_node("Identity", ["x"], ["y"])], {"x": (1, 4)}, {"y": (1, 4)})
    (found,) = predict(path, _PI)
    (only,) = found.operations
    assert only.latency_ms == pytest.approx(found.latency_ms.value)


def test_more_memory_than_the_board_has_is_said(tmp_path):
    """A prediction of more memory than the device has says so."""
    shape = (1, 1 << 28)
    path = _saved(tmp_path / "a.onnx", [helper.make_node("Relu", ["x"], ["y"])], {"x": shape}, {"y": shape})
    (small,), (large,) = predict(path, "raspberry-pi-zero-2w"), predict(path, "raspberry-pi-5")
    assert any("more memory than Raspberry Pi Zero 2 W has" in note for note in small.notes)
    assert not any("more memory" in note for note in large.notes)


def _at_batch(folder, format, batch):
    """Write a product and a flattened convolution of a converter's own, with a batch of 1 or an open one (None)."""
    import openvino
    import tensorflow as tf

    kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 8)).astype(np.float32)

    @tf.function(input_signature=[tf.TensorSpec((batch, 8, 8, 4), tf.float32, name="x")])
    def theirs(x):
        made = tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "VALID"))
        return tf.matmul(tf.reshape(made, (tf.shape(made)[0], 6 * 6 * 8)), np.ones((6 * 6 * 8, 5), np.float32))

    path = folder / f"model.{format}"
    folder.mkdir()
    if format == "tflite":
        converter = tf.lite.TFLiteConverter.from_concrete_functions([theirs.get_concrete_function()], theirs)
        path.write_bytes(converter.convert())
    elif format == "onnx":
        import tf2onnx

        tf2onnx.convert.from_function(theirs, theirs.input_signature, opset=17, output_path=str(path))
    else:
        path = path.with_suffix(".xml")
        openvino.save_model(openvino.convert_model(theirs.get_concrete_function()), str(path), compress_to_fp16=False)
    return path


@pytest.mark.parametrize("format", ["tflite", "onnx", "openvino"])
def test_an_open_batch_counts_as_one(format, tmp_path):
    """A converter's own file, whose batch is open, multiplies what it would with a batch of 1, and a note says so.

    Its latency has an interval, and differs by no more than the sizes that it computes as it runs.
    """
    fixed, opened = (_at_batch(tmp_path / str(batch), format, batch) for batch in (1, None))
    (one,), (any_,) = predict(fixed, _PI), predict(opened, _PI)
    assert any_.macs == one.macs == 6 * 6 * 9 * 4 * 8 + 6 * 6 * 8 * 5
    assert any_.latency_ms.low is not None and any_.latency_ms.low <= one.latency_ms.value <= any_.latency_ms.high
    assert any("batch open, axis 0 of x" in note for note in any_.notes)
    assert not any("batch open" in note for note in one.notes)
    assert all(value.static for value in read_graph(opened).values)


def test_an_open_batch_is_kept_off_the_edge_tpu(tmp_path):
    """XNNPACK takes what has known sizes at a batch of 1; the Edge TPU's compiler wants them in the file."""
    graph = read_graph(_at_batch(tmp_path / "open", "tflite", None))
    on_pi = devices.place(devices.get(_PI), graph)
    assert {group.kind for group in on_pi.groups if group.unit == on_pi.unit} >= {"CONV_2D", "FULLY_CONNECTED"}
    on_coral = devices.place(devices.get("coral-usb-accelerator"), graph)
    assert {group.unit for group in on_coral.groups} == {"CPU"}
    assert any("decided as the model runs" in group.reason for group in on_coral.groups if group.kind == "CONV_2D")


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A float32 network of two convolutions, an addition, pooling and a product, and what ONNX Runtime makes of it."""
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    folder = tmp_path_factory.mktemp("onnxruntime")
    random = np.random.default_rng(0)
    weights = {"first": (16, 3, 3, 3), "second": (16, 16, 3, 3), "bias": (16,), "last": (16, 5)}
    padded = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "first", "bias"], ["a"], **padded),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "second", "bias"], ["c"], **padded),
        helper.make_node("Sigmoid", ["c"], ["d"]),
        helper.make_node("Add", ["b", "d"], ["e"]),
        helper.make_node("GlobalAveragePool", ["e"], ["f"]),
        helper.make_node("Flatten", ["f"], ["g"]),
        helper.make_node("MatMul", ["g", "last"], ["h"]),
        helper.make_node("Softmax", ["h"], ["y"]),
    ]
    arrays = {name: random.normal(size=shape).astype(np.float32) for name, shape in weights.items()}
    plain = _saved(folder / "plain.onnx", nodes, {"x": ("batch", 3, 16, 16)}, {"y": ("batch", 5)}, arrays)

    class Samples(CalibrationDataReader):
        def __init__(self):
            self.left = [{"x": random.normal(size=(1, 3, 16, 16)).astype(np.float32)} for _ in range(4)]

        def get_next(self):
            return self.left.pop() if self.left else None

    for name, format in (("operators", QuantFormat.QOperator), ("pairs", QuantFormat.QDQ)):
        quantize_static(plain, folder / f"{name}.onnx", Samples(), quant_format=format)
    levels = onnxruntime.GraphOptimizationLevel
    for source in ("plain", "pairs"):
        for level in (levels.ORT_ENABLE_EXTENDED, levels.ORT_ENABLE_ALL):
            options = onnxruntime.SessionOptions()
            options.graph_optimization_level = level
            options.log_severity_level = 3
            options.optimized_model_filepath = str(folder / f"{source}-{level.name}.onnx")
            onnxruntime.InferenceSession(str(folder / f"{source}.onnx"), options, ["CPUExecutionProvider"])
    return folder


def test_what_onnx_runtime_makes_of_a_file_is_counted(network):
    """Fused, quantized or in blocks of channels, a file multiplies what it did, and its latency has an interval."""
    files = sorted(network.glob("*.onnx"))
    assert len(files) == 7
    kinds = set()
    for path in files:
        (found,) = predict(path, _PI)
        assert found.macs == 16 * 16 * 9 * 16 * (3 + 16) + 16 * 5, path.name
        assert found.latency_ms.low is not None and not any("Not counted" in note for note in found.notes), path.name
        kinds.update(node.kind for node in read_graph(path).nodes)
    assert kinds >= {"com.microsoft.QLinearAdd", "com.microsoft.nchwc.Conv"}
    notes = " ".join(predict(network / "plain-ORT_ENABLE_ALL.onnx", _PI)[0].notes)
    assert "com.microsoft.nchwc.Conv, in blocks of channels for the processor that ONNX Runtime saved" in notes


def test_fused_convolutions_multiply_as_the_plain_ones_do(network):
    """What ONNX Runtime fuses activations into is still a convolution, and no product of a row by a matrix."""
    plain, extended, whole = (
        total(work_of(read_graph(network / f"{name}.onnx")))
        for name in ("plain", "plain-ORT_ENABLE_EXTENDED", "plain-ORT_ENABLE_ALL")
    )
    for kind in MULTIPLYING:
        assert plain[kind] == extended[kind] == whole[kind], kind


@pytest.mark.parametrize("sizes", [(50,), (5, 10), (2, 5, 5)])
def test_a_kernel_of_one_pixel_gathers_nothing(sizes, tmp_path):
    """Along a sequence and in a volume as in a picture."""
    kernel = np.ones((16, 8, *[1 for _ in sizes]), np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    path = _saved(tmp_path / "a.onnx", [node], {"x": (1, 8, *sizes)}, {"y": (1, 16, *sizes)}, {"w": kernel})
    (work,) = work_of(read_graph(path))
    assert work.kind == "pointwise" and work.counts["pointwise"] == 16 * 8 * 50 and "patches" not in work.counts


def test_a_kernel_along_one_axis_of_a_volume_gathers(tmp_path):
    """Three pixels deep and one pixel wide, it is a convolution and no product."""
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    kernel = np.ones((16, 8, 3, 1, 1), np.float32)
    path = _saved(tmp_path / "a.onnx", [node], {"x": (1, 8, 4, 5, 5)}, {"y": (1, 16, 2, 5, 5)}, {"w": kernel})
    (work,) = work_of(read_graph(path))
    assert work.kind == "convolution" and work.counts["patches"] == 2 * 5 * 5 * 3 * 8 * 4


def test_a_precision_is_read_where_sizes_are_open(tmp_path):
    """A file for sequences of any length has the precision of what it multiplies, though nothing is counted."""
    from onnxruntime.quantization import quantize_dynamic

    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    plain = _saved(
        *(tmp_path / "a.onnx", nodes, {"x": ("batch", "steps", 8)}, {"y": ("batch", "steps", 8)}),
        {"w": np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)},
    )
    quantize_dynamic(plain, tmp_path / "b.onnx")
    assert [precision_of(read_graph(tmp_path / f"{name}.onnx")) for name in "ab"] == ["float32", "dynamic_int8"]
    (found,) = predict(tmp_path / "b.onnx", "jetson-orin-nano")
    assert found.precision == "dynamic_int8" and found.latency_ms is None


def test_the_precision_of_onnx_runtimes_own_products_is_read(tmp_path):
    """Its quantizer's LSTM quantizes what it reads as it runs, and its product by blocks has weights of 4 bits."""
    from onnxruntime.quantization import quantize_dynamic

    shapes = {"w": (1, 32, 8), "r": (1, 32, 8)}
    arrays = {name: np.random.default_rng(0).normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    node = helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=8)
    plain = _saved(tmp_path / "a.onnx", [node], {"x": (5, 1, 8)}, {"y": (5, 1, 1, 8)}, arrays)
    quantize_dynamic(plain, tmp_path / "lstm.onnx")
    assert precision_of(read_graph(tmp_path / "lstm.onnx")) == "dynamic_int8"
    for bits, precision in ((4, "int4_weights"), (8, "int8_weights")):
        settings = {"K": 32, "N": 8, "bits": bits, "block_size": 32}
        node = helper.make_node("MatMulNBits", ["x", "w", "s"], ["y"], domain="com.microsoft", **settings)
        arrays = {"w": np.zeros((8, 1, 4 * bits), np.uint8), "s": np.ones(8, np.float32)}
        path = _saved(
            tmp_path / f"{bits}.onnx", [node], {"x": (1, 32)}, {"y": (1, 8)}, arrays, domains=["com.microsoft"]
        )
        assert precision_of(read_graph(path)) == precision


def test_pairs_of_quantization_cost_what_the_kernels_they_become_do(network):
    """A convolution between integers reads and writes their bytes, whether the file has it as one operation or not."""
    for kind in ("inputs", "outputs", "weights"):
        pairs, operators = (
            sum(
                work.counts.get(kind, 0)
                for work in work_of(read_graph(network / f"{name}.onnx"))
                if "Conv" in work.name
            )
            for name in ("pairs", "operators")
        )
        assert pairs == pytest.approx(operators, rel=0.05), kind
    (pairs,), (operators,) = (predict(network / f"{name}.onnx", _PI) for name in ("pairs", "operators"))
    assert pairs.latency_ms.value == pytest.approx(operators.latency_ms.value, rel=0.1)


@pytest.mark.parametrize(
    ("kind", "domain", "given", "weights", "made", "macs"),
    [
        ("Attention", "com.microsoft", {"x": (2, 6, 8)}, {"w": (8, 24)}, (2, 6, 8), 2 * 6 * 8 * 24 + 2 * 2 * 6 * 6 * 8),
        ("MultiHeadAttention", "com.microsoft", {n: (2, 6, 8) for n in "qkv"}, {}, (2, 6, 8), 2 * 2 * 6 * 6 * 8),
        ("Attention", "", {"q": (2, 6, 8), "k": (2, 9, 8), "v": (2, 9, 4)}, {}, (2, 6, 4), 2 * 6 * 9 * (8 + 4)),
        ("Attention", "", {n: (1, 4, 6, 8) for n in "qkv"}, {}, (1, 4, 6, 8), 2 * 4 * 6 * 6 * 8),
    ],
)
def test_attention_is_counted(kind, domain, given, weights, made, macs, tmp_path):
    """Queries with keys and their weights with values, for each head, and projections where an attention has them."""
    more = {"num_heads": 2} if domain else {"q_num_heads": 2, "kv_num_heads": 2} if len(made) == 3 else {}
    names = [*given, *weights, *(["bias"] if weights else [])]
    arrays = {name: np.ones(shape, np.float32) for name, shape in weights.items()}
    arrays |= {"bias": np.ones(24, np.float32)} if weights else {}
    node = helper.make_node(kind, names, ["y"], domain=domain, **more)
    path = _saved(tmp_path / "a.onnx", [node], given, {"y": made}, arrays, domains=["com.microsoft"], opset=23)
    assert read_graph(path).macs == macs


def _places(path):
    """Write a TFLite file with an open batch that returns the places of all numbers above zero."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, name="x")])
    def theirs(x):
        return tf.cast(tf.where(x > 0), tf.float32)

    path.write_bytes(
        tf.lite.TFLiteConverter.from_concrete_functions([theirs.get_concrete_function()], theirs).convert()
    )
    return path


def test_sizes_that_numbers_decide_stay_open(tmp_path):
    """How many numbers are not zero is known as a file runs: nothing behind that is counted, and a note says so."""
    nodes = [
        helper.make_node("NonZero", ["x"], ["places"]),
        helper.make_node("Cast", ["places"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["real"], ["rows"]),
        helper.make_node("MatMul", ["rows", "w"], ["y"]),
    ]
    path = _saved(tmp_path / "a.onnx", nodes, {"x": (4, 4)}, {"y": ("n", 3)}, {"w": np.ones((2, 3), np.float32)})
    (found,) = predict(path, _PI)
    assert found.latency_ms.low is None and "Not counted: MatMul (a shape is not known)." in found.notes
    graph = read_graph(_places(tmp_path / "a.tflite"))
    assert graph.nodes and graph.values[graph.outputs[0]].shape == (-1, 2)
