"""The networks that published latencies were measured of, rebuilt: names, and sizes against what was published."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from _measured_cells import nb201, sample
from _measured_models import NAMES, build, canonical
from _measured_table import macs_of, parameters_of
from measured_graphs import write

from edgewright.errors import InputError
from edgewright.export import read_graph


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("mobilenet-v1-0.25-128-non-quantized", "mobilenet-v1-0.25-128"),
        ("mobilenet-v1-precision_uint8-0.25-128", "mobilenet-v1-0.25-128"),
        ("mobilenet-v2-1.4-224", "mobilenet-v2-1.4-224"),
        ("mobilenet-v3-large-minimalistic_224_1.0_uint8", "mobilenet-v3-large-minimalistic-1.0-224"),
        ("mobilenet-v3-precision_float-small-224", "mobilenet-v3-small-1.0-224"),
        ("efficientnet-int8-lite4", "efficientnet-lite4"),
        ("resnet50", "resnet50-v1.5"),
        ("ssd_mobilenet_v2_300x300_coco", "ssd-mobilenet-v2"),
        ("ssd_mobilenet_v2_300x300_quant_coco_edgetpu", "ssd-mobilenet-v2-quantized"),
        ("efficientdet-lite3x_int8", "efficientdet-lite3x"),
        ("YOLO11n", "yolo11n"),
        ("vgg16_bn", "vgg16"),
        ("bert-99", None),
    ],
)
def test_many_published_names_mean_one_graph(model: str, name: str | None) -> None:
    """A row's graph is told by its published name, whatever that says of precision."""
    assert canonical({"model": model, "runtime": "TFLite", "source": "", "input": ""}) == name
    assert name is None or name in NAMES


def test_a_name_means_another_graph_in_another_benchmark() -> None:
    """Ncnn's MobileNet v2 has one more convolution than PyTorch's, under the same name."""
    row = {"model": "mobilenet_v2", "source": "", "input": ""}
    assert canonical({**row, "runtime": "ncnn"}) == "mobilenet-v2-ncnn"
    assert canonical({**row, "runtime": "TensorRT via torch2trt"}) == "mobilenet-v2-1.0-224"


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("shufflenet-v1", 1.803),
        ("proxylessnas", 4.065),
        ("ssdlite-mobilenet-v3-large", 3.22),
        ("yolo11n", 2.62),
        ("efficientnet-edgetpu-s", 5.44),
    ],
)
def test_networks_have_the_published_parameters(name: str, parameters: float) -> None:
    """Within one percent, in millions: ncnn's param files, the zoo's, Ultralytics' and the authors' tables."""
    assert build(name).count_params() / 1e6 == pytest.approx(parameters, rel=0.01)


def test_a_rebuilt_network_has_the_published_size(tmp_path: Path) -> None:
    """MobileNet v2 0.35 at 128 pixels: 20 million multiply-accumulates, 1.66 million parameters (TF-slim's table)."""
    write(tmp_path / "small.tflite", lambda: build("mobilenet-v2-0.35-128"))
    graph = read_graph(tmp_path / "small.tflite")
    assert macs_of(graph) == pytest.approx(20, rel=0.03)
    assert parameters_of(graph) == pytest.approx(1.66, rel=0.03)
    kinds = [node.kind for node in graph.nodes]
    assert kinds.count("DEPTHWISE_CONV_2D") == 17 and kinds.count("ADD") == 10
    assert set(kinds) == {"CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "AVERAGE_POOL_2D", "RESHAPE", "SOFTMAX"}


def test_a_cell_is_rebuilt_from_its_text() -> None:
    """A cell of a 1x1 convolution adds one to each of the 15 cells; what it computes on nothing is not drawn."""
    assert set(sample([(7, "|skip_connect~0|+|none~0|nor_conv_1x1~1|+|none~0|none~1|skip_connect~2|")])) == {"nb201-7"}
    assert not sample([(8, "|none~0|+|skip_connect~0|nor_conv_3x3~1|+|none~0|none~1|skip_connect~2|")])
    assert not sample([(9, "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")])
    model = nb201("|skip_connect~0|+|none~0|nor_conv_1x1~1|+|none~0|none~1|skip_connect~2|")
    convolutions = [layer for layer in model.layers if type(layer).__name__ == "Conv2D"]
    assert len(convolutions) == 1 + 15 + 2 * 3
    assert model.output.shape == (1, 10)


def test_a_name_that_is_not_rebuilt_is_refused() -> None:
    """The error says what there is."""
    with pytest.raises(InputError, match="Expected a model of mobilenet-v1-0.25-128.*Got: lenet"):
        build("lenet")
