"""edgewright render: a view of the radiance field as a PNG, by the shipped model and by an exported artifact."""

import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

import edgewright
from edgewright.errors import InputError, MissingRequirement
from edgewright.rendering import render_view
from edgewright.train import get
from edgewright.train._checkpoints import load, shipped

COMMAND = [str(Path(sys.executable).with_name("edgewright")), "render"]


def pixels_of(path):
    """The pixels of an 8-bit RGB PNG without filters, read chunk by chunk."""
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", content[16:24])
    at, data = 8, b""
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        if content[at + 4 : at + 8] == b"IDAT":
            data += content[at + 8 : at + 8 + length]
        at += 12 + length
    rows = np.frombuffer(zlib.decompress(data), np.uint8).reshape(height, 1 + 3 * width)
    return rows[:, 1:].reshape(height, width, 3)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """The shipped field as float TFLite, judged on a few rays."""
    experiment = get("nerf").default
    compressed = edgewright.compress(load(shipped("nerf", experiment.name)), experiment.task(), "float32")
    return edgewright.export(
        compressed, tmp_path_factory.mktemp("field") / "bundle", ["tflite"], deploy=experiment.deploy
    ).path


def test_an_exported_field_renders_what_keras_renders(bundle, tmp_path):
    """The same camera gives the same picture, to a grey level, and it shows a scene: neither empty nor uniform."""
    keras_view = render_view(None, tmp_path / "keras.png", 40, 25, 24)
    lite_view = render_view(bundle, tmp_path / "lite.png", 40, 25, 24, "tflite float32", "litert")
    assert keras_view.source.startswith("Keras") and lite_view.source == "tflite float32 in litert"
    one, other = (pixels_of(view.path).astype(int) for view in (keras_view, lite_view))
    assert one.shape == (24, 24, 3) and np.abs(one - other).max() <= 1
    assert one.std() > 20


def test_the_command_says_what_rendered_how_fast(bundle, tmp_path):
    """The command writes the file and answers with path, source and seconds."""
    done = subprocess.run(
        [*COMMAND, str(bundle), "--side", "12", "--out", str(tmp_path / "v.png"), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)["result"]
    assert pixels_of(Path(result["path"])).shape == (12, 12, 3)
    assert result["source"] == "tflite float32 in litert" and result["seconds"] > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"side": 0}, "at least 1 pixel"),
        ({"side": 100_000_000}, "at most 4096"),
        ({"azimuth_degrees": float("nan")}, "Expected a finite azimuth"),
        ({"bundle": None, "artifact": "tflit"}, "Expected a bundle with --artifact and --runtime. Got: none, for 't"),
        ({"elevation_degrees": 90}, "between -90 and 90"),
        ({"artifact": "onnx int8"}, "tflite float32. Got: 'onnx int8'"),
        ({"runtime": "onnxruntime"}, "a runtime that takes tflite float32. Got: .onnxruntime."),
        ({"bundle": Path("nowhere")}, "Expected a bundle"),
    ],
)
def test_what_cannot_be_rendered_is_told(bundle, tmp_path, changes, message):
    """A picture without pixels, a camera above the pole, an unknown artifact and no bundle are clear errors."""
    asked = {"bundle": bundle, "azimuth_degrees": 0, "elevation_degrees": 20, "side": 4, "artifact": None} | changes
    with pytest.raises(InputError, match=message):
        render_view(out=tmp_path / "v.png", **asked)
    assert not (tmp_path / "v.png").exists()


def test_a_picture_without_a_folder_is_refused_before_it_is_rendered(tmp_path):
    """The folder of the picture is looked at before the bundle is."""
    with pytest.raises(MissingRequirement, match="Expected a folder that the file .* Got: none"):
        render_view(Path("nowhere"), tmp_path / "nodir" / "v.png", 0, 20, 4)
