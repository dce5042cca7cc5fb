"""What files tell of their model in their formats' own fields, and the model card of a bundle."""

import json

import keras
import numpy as np
import onnxruntime
import openvino
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import edgewright
from edgewright.cli import app
from edgewright.errors import InputError
from edgewright.export import About, load_about, load_bundle, names, read_graph
from edgewright.export._tflite_metadata import ENTRY, metadata_of, read

ABOUT = """
version = "1.2.0"
description = "Tells apart three kinds of flowers | by four lengths."
author = "A. Botanist"
licence = "CC-BY-4.0"
[inputs]
lengths = "of sepals and petals, in cm"
[outputs]
kinds = "probabilities of setosa, versicolor, virginica"
"""


def _model(name="flowers"):
    keras.utils.set_random_seed(0)
    lengths = keras.Input((4,), name="lengths")
    return keras.Model(lengths, keras.layers.Dense(3, activation="softmax", name="kinds")(lengths), name=name)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A bundle in every format, float and int8, of a model that is told of, made at the command line."""
    folder = tmp_path_factory.mktemp("told")
    _model().save(folder / "flowers.keras")
    np.savez(folder / "data.npz", lengths=np.linspace(-1.5, 2.5, 160, dtype="float32").reshape(40, 4))
    (folder / "about.toml").write_text(ABOUT, encoding="utf-8")
    command = ["compress", folder / "flowers.keras", "--data", folder / "data.npz", "--out", folder / "bundle"]
    made = CliRunner().invoke(app, [str(part) for part in (*command, "--about", folder / "about.toml", "--json")])
    assert made.exit_code == 0, made.output
    return load_bundle(folder / "bundle")


@pytest.mark.parametrize("format", names())
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_file_of_every_format_tells_what_its_model_is(bundle, format, precision):
    """Name, version, licence, author, recipe, and what inputs and outputs hold are read back from every file."""
    (path,) = [each.path for each in bundle.artifacts if each.name == f"{format} {precision}"]
    told = read_graph(path).metadata
    assert {told["name"], told["version"], told["license"], told["author"]} == {
        "flowers",
        "1.2.0",
        "CC-BY-4.0",
        "A. Botanist",
    }
    assert told["recipe"] == bundle.manifest["recipe"]["sha256"][:16]
    texts = " ".join(told.values())
    assert "three kinds of flowers" in texts and "virginica" in texts and "in cm; -1.5 to 2.5" in texts


def test_onnx_runtime_itself_shows_the_licence_and_the_description(bundle):
    """What was written into an ONNX file is where ONNX Runtime looks for it, under the IR document's keys."""
    path = bundle.path / "artifacts" / "model.int8.onnx"
    meta = onnxruntime.InferenceSession(str(path)).get_modelmeta()
    assert meta.custom_metadata_map["model_license"] == "CC-BY-4.0"
    assert meta.description.startswith("Tells apart")


def test_openvino_itself_shows_the_licence(bundle):
    """What was written into an IR is in the section that OpenVINO's tools read."""
    model = openvino.Core().read_model(bundle.path / "artifacts" / "model.int8.xml")
    assert model.get_rt_info(["model_info", "license"]).astype(str) == "CC-BY-4.0"
    assert model.get_rt_info(["model_info", "model_version"]).astype(str) == "1.2.0"


def test_tflite_metadata_lie_in_the_entry_and_with_the_identifier_of_the_published_schema(bundle):
    """The file has one TFLITE_METADATA entry, a flatbuffer of version M001."""
    content = (bundle.path / "artifacts" / "model.int8.tflite").read_bytes()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    (entry,) = [entry for entry in model.metadata if entry.name == ENTRY.encode()]
    assert bytes(bytearray(model.buffers[entry.buffer].data))[4:8] == b"M001"


@given(st.text(), st.text(), st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_any_text_comes_back_from_a_tflite_file_as_it_went_in(description, meaning, low):
    """Writing and reading the flatbuffer are inverse, whatever the texts hold."""
    about = About(description=description, inputs={"x": meaning}, ranges={"x": (low, low)})
    told = read({ENTRY: metadata_of(about, ["x"], ["y"])})
    assert told.get("description", "") == description
    assert told["input x"] == about.of_input("x")


def test_broken_metadata_are_a_note_and_the_rest_of_the_file_is_read(bundle, tmp_path):
    """A file whose metadata are nonsense still has its operations listed."""
    content = bytearray((bundle.path / "artifacts" / "model.float32.tflite").read_bytes())
    place = content.index(b"M001")
    content[place : place + 4] = b"XXXX"
    (tmp_path / "broken.tflite").write_bytes(content)
    graph = read_graph(tmp_path / "broken.tflite")
    assert graph.nodes and not graph.metadata
    assert "metadata could not be read" in graph.notes[0]


def test_the_model_card_lists_every_file_and_every_run_that_was_right(bundle):
    """The card has the front matter of model hubs, each artifact with its scales, and each check."""
    card = (bundle.path / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlicense: 'CC-BY-4.0'\n")
    assert "- Version: 1.2.0" in card and "in cm | -1.5 to 2.5 |" in card
    for artifact in bundle.artifacts:
        assert f"artifacts/{artifact.path.name} | {artifact.size_bytes:,}" in card
    rows = [line for line in card.splitlines() if line.startswith("| tflite int8 |")]
    assert len(rows) == sum(made["artifact"] == "tflite int8" for made in bundle.manifest["evidence"]["checks"])
    assert "`lengths` int8, scale" in card


def test_what_was_not_handed_over_is_a_caveat_of_the_model_card(tmp_path):
    """A precision that a format lacks stands in the card with its reason."""
    compressed = edgewright.compress(_model(), np.zeros((8, 4), "float32"), "int16x8")
    bundle = edgewright.export(compressed, tmp_path / "bundle", ["openvino"])
    card = (bundle.path / "README.md").read_text(encoding="utf-8")
    assert "- openvino int16x8: not handed over: OpenVINO's CPU plug-in" in card


def test_telling_of_a_tensor_that_is_not_there_is_an_error_and_nothing_is_written(tmp_path):
    """A misspelt input is named, with the one that was meant."""
    compressed = edgewright.compress(_model(), None, "float32")
    with pytest.raises(InputError, match=r"input to describe: lengths. Got: 'lenghts'. Did you mean 'lengths'"):
        edgewright.export(compressed, tmp_path / "bundle", about=About(inputs={"lenghts": "cm"}))
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("license = 'MIT'", "Got: 'license'. Did you mean 'licence'"),
        ("version = 1.2", "a text for 'version'"),
        ("inputs = 'cm'", "a table of texts for 'inputs'"),
        ("version = ", "Expected TOML"),
    ],
)
def test_a_file_that_tells_of_a_model_is_checked(tmp_path, text, message):
    """An unknown key, a value of another kind and broken TOML are errors that say what was expected."""
    path = tmp_path / "about.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load_about(path)


def test_the_manifest_holds_what_was_told(bundle):
    """The manifest has the texts as data, with the ranges of the inputs in the samples."""
    about = json.loads((bundle.path / "manifest.json").read_text(encoding="utf-8"))["about"]
    assert about["licence"] == "CC-BY-4.0" and about["ranges"] == {"lengths": [-1.5, 2.5]}
