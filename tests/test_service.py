"""The service on a device: what it answers, what it tells, and what it refuses."""

import ast
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.devices import _service as service
from edgewright.export import Deployable, HostCode
from edgewright.export._artifact import Artifact
from edgewright.runtimes import run_artifact

from ._services import FIRST, SECOND, SERVICE, request

# Two graphs that are one file: the second is called with what the first said.
HOST = """
import numpy as np


class Host(object):
    def __init__(self, graphs, settings):
        self.graphs, self.turns = graphs, settings["turns"]

    def run(self, sample):
        if not np.isfinite(sample["first"]).all():
            raise ValueError("expected finite numbers")
        state = sample["second"][np.newaxis]
        for _ in range(self.turns):
            wide = self.graphs["a"]({"first": sample["first"][np.newaxis], "second": state})["wide"]
            state = np.tanh(self.graphs["b"]({"first": wide[:, :4], "second": state})["wide"][:, :3])
        return {"state": state[0]}
"""


def arrays_of(answer):
    """Return the outputs of a JSON answer."""
    return {
        tensor["name"]: np.array(tensor["data"], service.DTYPES[tensor["datatype"]]).reshape(tensor["shape"])
        for tensor in answer["outputs"]
    }


def test_the_service_is_python_3_7():
    """The file parses as Python 3.7, and imports the standard library and NumPy alone."""
    tree = ast.parse(SERVICE.read_text(encoding="utf-8"), feature_version=(3, 7))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name.split(".")[0] for node in imports if isinstance(node, ast.Import) for alias in node.names}
    names |= {(node.module or ".").split(".")[0] for node in imports if isinstance(node, ast.ImportFrom)}
    assert names <= set(sys.stdlib_module_names) | {"numpy"}


@pytest.mark.parametrize(
    ("runtime", "format", "precision"),
    [
        ("litert", "tflite", "float32"),
        ("litert", "tflite", "int8"),
        ("onnxruntime", "onnx", "float32"),
        ("openvino", "openvino", "float32"),
    ],
)
def test_it_answers_what_the_runner_answers(runtime, format, precision, artifacts, inputs, serving):
    """As JSON and as binary data, in each runtime, the outputs are those of the runner bit for bit."""
    artifact = artifacts[format, precision]
    run = run_artifact(artifact, runtime, {name: array[:3] for name, array in inputs.items()})
    running = serving("--runtime", runtime, "--artifact", artifact, "--name", "small")
    status, answer = running.post({**request(inputs), "id": "42"})
    assert status == 200 and answer["id"] == "42" and answer["model_name"] == "small"
    binary = service.ask(running.path, "small", {name: array[:3] for name, array in inputs.items()})
    for name, expected in run.outputs.items():
        for array in (arrays_of(answer)[name], binary[name]):
            assert array.dtype == expected.dtype
            np.testing.assert_array_equal(array, expected)
    assert set(binary) == set(run.outputs)


def test_two_graphs_and_their_host_code_are_served(artifacts, inputs, serving, tmp_path):
    """Host code around two graphs answers as in the runner; the example tells the names, types and shapes."""
    (tmp_path / "host.py").write_text(HOST)
    (tmp_path / "host.json").write_text('{"turns": 3}')
    golden = {f"input/{name}": array for name, array in inputs.items()}
    np.savez(tmp_path / "golden.npz", **golden, **{"output/state": np.zeros((20, 3), "f4")})
    file = artifacts["tflite", "float32"]
    parts = tuple(Artifact(file, "tflite", "float32", (), (), "", 0, 0, graph=graph) for graph in "ab")
    host = HostCode(tmp_path / "host.py", tmp_path / "host.json", "")
    few = {name: array[:4] for name, array in inputs.items()}
    run = run_artifact(Deployable(parts, host), "litert", few)
    assert run.ok, run.reason
    options = [text for graph in "ab" for text in ("--artifact", f"{graph}={file}")]
    options += ["--host", tmp_path / "host.py", "--settings", tmp_path / "host.json", "--name", "small"]
    running = serving("--runtime", "litert", *options, "--example", tmp_path / "golden.npz")
    np.testing.assert_array_equal(service.ask(running.path, "small", few)["state"], run.outputs["state"])
    told = running.get("/v2/models/small")[1]
    assert told["inputs"][0] == {"name": "first", "datatype": "FP32", "shape": [-1, 4]}
    assert told["outputs"] == [{"name": "state", "datatype": "FP32", "shape": [-1, 3]}]
    assert running.post(request({"first": inputs["first"]}))[0] == 400
    # What the host code itself refuses is a failure of one answer, and the next is right again.
    with pytest.raises(RuntimeError, match="ValueError: expected finite numbers"):
        service.ask(running.path, "small", {**few, "first": np.full_like(few["first"], np.inf)})
    assert running.get("/v2/models/small/stats")[1]["failures"] == 1
    np.testing.assert_array_equal(service.ask(running.path, "small", few)["state"], run.outputs["state"])


def test_it_tells_what_it_is(small):
    """The server, its health and the model are told as the Open Inference Protocol says, with and without a version."""
    assert small.get("/v2")[1]["extensions"] == ["binary_tensor_data", "stats"]
    assert small.get("/v2/health/live") == (200, {"live": True})
    assert small.get("/v2/health/ready")[1]["ready"] is True
    assert small.get("/v2/models") == (200, {"models": ["small"]})
    status, told = small.get("/v2/models/small")
    assert status == 200 and told["name"] == "small" and told["versions"] == ["7"]
    assert told["platform"].startswith("litert 2.")
    assert told["inputs"][0] == {"name": "first", "datatype": "FP32", "shape": [-1, 4]}
    assert small.get("/v2/models/small/versions/7") == (200, told)
    assert small.get("/v2/models/small/ready") == (200, {"name": "small", "ready": True})
    assert small.get("/v2/models/small/versions/8/ready")[0] == 404
    assert os.stat(small.path).st_mode & 0o777 == 0o600


def test_outputs_are_chosen_and_mixed(small, inputs):
    """Of two outputs one may be asked for, or one as JSON and one as binary data."""
    outputs = [{"name": "narrow"}, {"name": "wide", "parameters": {"binary_data": True}}]
    body = json.dumps({**request(inputs), "outputs": outputs}).encode()
    _, headers, content = service.call(small.path, "POST", "/v2/models/small/versions/7/infer", body)
    head = int(headers["Inference-Header-Content-Length"])
    narrow, wide = json.loads(content[:head])["outputs"]
    everything = arrays_of(small.post(request(inputs))[1])
    np.testing.assert_array_equal(np.array(narrow["data"], "f4").reshape(3, 2), everything["narrow"])
    assert wide["parameters"]["binary_data_size"] == len(content) - head
    np.testing.assert_array_equal(np.frombuffer(content[head:], "<f4").reshape(3, 5), everything["wide"])
    only = small.post({**request(inputs), "outputs": outputs[:1]})[1]["outputs"]
    assert [tensor["name"] for tensor in only] == ["narrow"]


BAD = {
    "not JSON": (b"[1", {}, "Expected a body of JSON. Got: Expecting ',' delimiter"),
    "not UTF-8": (b'{"inputs": "\xff"}', {}, "Expected a body of JSON. Got: "),
    "nested too deeply": (b"[" * 9000, {}, "Expected a body of JSON. Got: "),
    "no object": ([1], {}, "Expected a JSON object with a list of inputs. Got: [1]."),
    "a number as id": ({"id": 1, "inputs": []}, {}, "Expected a string as the request's id. Got: 1."),
    "an input missing": ({"inputs": [FIRST]}, {}, "Expected the inputs first, second. Got: first."),
    "no input": ({"inputs": []}, {}, "Expected the inputs first, second. Got: none."),
    "an unknown input": ({"inputs": [FIRST, {**SECOND, "name": "third"}]}, {}, "Got: first, third."),
    "an input twice": ({"inputs": [FIRST, FIRST]}, {}, "Expected each input once. Got: first twice."),
    "an input that is no object": ({"inputs": ["first"]}, {}, "Expected inputs that are objects with a name."),
    "another shape": (
        {"inputs": [{**FIRST, "shape": [1, 2, 2]}, SECOND]},
        {},
        "Expected first as FP32 [samples, 4]. Got: FP32 [1, 2, 2].",
    ),
    "another type": (
        {"inputs": [{**FIRST, "datatype": "INT64"}, SECOND]},
        {},
        "Expected first as FP32 [samples, 4]. Got: INT64 [1, 4].",
    ),
    "an unknown type": ({"inputs": [{**FIRST, "datatype": "BYTES"}, SECOND]}, {}, "for first. Got: BYTES."),
    "a type that is no text": ({"inputs": [{**FIRST, "datatype": []}, SECOND]}, {}, "for first. Got: []."),
    "no shape": ({"inputs": [{**FIRST, "shape": None}, SECOND]}, {}, "Expected a shape of whole numbers for first."),
    "a negative size": (
        {"inputs": [{**FIRST, "shape": [-1, 4]}, SECOND]},
        {},
        "whole numbers for first. Got: [-1, 4].",
    ),
    "too many dimensions": ({"inputs": [{**FIRST, "shape": [1] * 40}, SECOND]}, {}, "whole numbers for first."),
    "a number too few": ({"inputs": [{**FIRST, "data": [1, 2, 3]}, SECOND]}, {}, "Expected 4 numbers, [1, 4], as data"),
    "ragged lists": ({"inputs": [{**FIRST, "data": [[1, 2], [3]]}, SECOND]}, {}, "Expected lists of numbers as data"),
    "text": ({"inputs": [{**FIRST, "data": ["1", "2", "3", "4"]}, SECOND]}, {}, "Expected lists of numbers as data"),
    "null": ({"inputs": [{**FIRST, "data": [1, None, 3, 4]}, SECOND]}, {}, "Expected lists of numbers as data"),
    "true and false": ({"inputs": [{**FIRST, "data": [True] * 4}, SECOND]}, {}, "Expected lists of numbers as data"),
    "no list": ({"inputs": [{**FIRST, "data": 4}, SECOND]}, {}, "Expected lists of numbers as data of first. Got: 4."),
    "NaN": ({"inputs": [{**FIRST, "data": [float("nan")] * 4}, SECOND]}, {}, "has no NaN and no infinity"),
    "more than a float": (
        {"inputs": [{**FIRST, "data": [1e39, 2, 3, 4]}, SECOND]},
        {},
        "Expected numbers that FP32 holds",
    ),
    "no data": ({"inputs": [{**FIRST, "data": None}, SECOND]}, {}, "Expected lists of numbers as data of first."),
    "other sample counts": (
        {"inputs": [{**FIRST, "shape": [2, 4], "data": [0] * 8}, SECOND]},
        {},
        "Expected 1 to 16 samples, as many in each input. Got: first 2, second 1.",
    ),
    "no sample": (
        {"inputs": [{**FIRST, "shape": [0, 4], "data": []}, {**SECOND, "shape": [0, 3], "data": []}]},
        {},
        "Got: first 0, second 0.",
    ),
    "too many samples": (
        {"inputs": [{**FIRST, "shape": [17, 4], "data": [0] * 68}, {**SECOND, "shape": [17, 3], "data": [0] * 51}]},
        {},
        "Expected 1 to 16 samples",
    ),
    "an unknown output": (
        {"inputs": [FIRST, SECOND], "outputs": [{"name": "x"}]},
        {},
        "Expected outputs of narrow, wide.",
    ),
    "outputs that are no list": (
        {"inputs": [FIRST, SECOND], "outputs": {"name": "x"}},
        {},
        "Expected a list of outputs.",
    ),
    "parameters that are no object": (
        {"inputs": [FIRST, SECOND], "parameters": [1]},
        {},
        "Expected parameters that are",
    ),
    "binary data that is not there": (
        {"inputs": [{**FIRST, "data": ..., "parameters": {"binary_data_size": 16}}, SECOND]},
        {},
        "Expected 16 bytes of binary data for first, FP32 [1, 4]. Got: binary_data_size 16 and 0 bytes.",
    ),
    "binary data and JSON": (
        {"inputs": [{**FIRST, "parameters": {"binary_data_size": 16}}, SECOND]},
        {},
        "Expected data or binary_data_size for first. Got: both.",
    ),
    "neither": ({"inputs": [{**FIRST, "data": ...}, SECOND]}, {}, "Got: neither."),
    "binary data too many": (
        {"inputs": [FIRST, SECOND]},
        {"Inference-Header-Content-Length": -3},
        "Expected as much binary data as the inputs tell. Got: 3 bytes more.",
    ),
    "a head longer than the body": (
        {"inputs": [FIRST, SECOND]},
        {"Inference-Header-Content-Length": "999999"},
        "Expected an Inference-Header-Content-Length of at most",
    ),
    "a head that is no number": ({}, {"Inference-Header-Content-Length": "x"}, "Got: x."),
    "too large": (b" " * 80000, {}, "Expected a request of at most 69120 bytes. Got: 80000."),
    "chunked": ({}, {"Transfer-Encoding": "chunked"}, "Expected a body whose Content-Length is told."),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_a_sentence(small, case):
    """What is not an inference of this model is HTTP 400 with what was expected and what came; the next is answered."""
    body, headers, text = BAD[case]
    if isinstance(body, dict):
        for tensor in body.get("inputs", []):
            if isinstance(tensor, dict) and tensor.get("data") is ...:
                del tensor["data"]
        body = json.dumps(body).encode()
    for name, value in headers.items():
        if value == -3:
            headers = {name: str(len(body))}
            body += b"abc"
    status, answer = small.post(body, headers)
    assert status == 400 and set(answer) == {"error"}
    assert text in answer["error"]
    assert answer["error"].startswith("Expected ") and ". Got: " in answer["error"] and answer["error"].endswith(".")
    assert small.post({"inputs": [FIRST, SECOND]})[0] == 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.data())
@hypothesis.settings(max_examples=80, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_whatever_is_changed_in_a_request_is_no_failure(small, data):
    """A request of which any part is any JSON, or bytes are lost, is answered or refused, and never a failure."""
    asked = {"inputs": [dict(FIRST), dict(SECOND)], "parameters": {}, "outputs": [{"name": "wide"}]}
    holder = data.draw(st.sampled_from([asked, *asked["inputs"], asked["outputs"][0], asked["parameters"]]))
    holder[data.draw(st.sampled_from([*holder, "id", "parameters", "data"]))] = data.draw(JSON)
    body = json.dumps(asked).encode()
    status, answer = small.post(body[: len(body) - data.draw(st.sampled_from([0, 0, 0, 1, 9]))])
    assert status == 200 or (status == 400 and answer["error"].startswith("Expected ")), answer


def test_other_paths_and_methods_are_refused(small):
    """Unknown paths and models are HTTP 404, another method 405 or 501, and text that is no HTTP is 400, in JSON."""
    assert small.get("/v2/models/other")[0] == small.get("/v1")[0] == small.get("/v2/models/small/x")[0] == 404
    assert small.get("/v2/models/small/infer")[0] == small.post(b"{}", url="/v2/models/small")[0] == 405
    status, _, content = service.call(small.path, "PUT", "/v2", b"x")
    assert status == 501 and "Got: Unsupported method ('PUT')" in json.loads(content)["error"]
    with small.raw() as connection:
        connection.sendall(b"GET / HTTP/nonsense\r\n\r\n")
        answer = connection.makefile("rb").read()
    assert b" 400 " in answer.splitlines()[0] and b'{"error": "Expected an HTTP request.' in answer


def test_numbers_that_are_none_pass_as_binary_data_alone(small, inputs):
    """NaN goes in and comes out as binary data, for a float model; an answer in JSON that cannot hold it is refused."""
    arrays = {name: np.full_like(array[:1], np.nan) for name, array in inputs.items()}
    assert np.isnan(service.ask(small.path, "small", arrays)["narrow"]).all()
    tensors = [
        {"name": name, "datatype": "FP32", "shape": [*array.shape], "parameters": {"binary_data_size": array.nbytes}}
        for name, array in arrays.items()
    ]
    head = json.dumps({"inputs": tensors}).encode()
    body = b"".join([head, *(array.tobytes() for array in arrays.values())])
    status, answer = small.post(body, {"Inference-Header-Content-Length": str(len(head))})
    assert status == 500 and "Expected finite numbers as output" in answer["error"]


def test_a_quantized_input_takes_no_nan(artifacts, inputs, serving):
    """Into integers NaN is not quantized: the runner's own refusal is HTTP 400."""
    running = serving("--runtime", "litert", "--artifact", artifacts["tflite", "int8"], "--name", "small")
    assert running.get("/v2/models/small")[1]["inputs"][0]["datatype"] == "FP32"
    with pytest.raises(RuntimeError, match="Expected numbers in first to quantize to int8. Got: NaN."):
        service.ask(running.path, "small", {name: array[:1] * np.nan for name, array in inputs.items()})
    assert running.get("/v2/models/small/stats")[1]["refused"] == 1


def test_eight_clients_at_once_each_get_their_own_answer(small, inputs, expected):
    """Eight threads that ask for other samples again and again get the answers to theirs, and all are counted."""
    before = small.get("/v2/models/small/stats")[1]

    def ask(client):
        for turn in range(10):
            sample = slice((client + turn) % 20, (client + turn) % 20 + 1)
            made = service.ask(small.path, "small", {name: array[sample] for name, array in inputs.items()})
            np.testing.assert_allclose(made["wide"], expected["wide"][sample], atol=1e-5)
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(8)))
    after = small.get("/v2/models/small/stats")[1]
    assert after["count"] - before["count"] == 80 and after["failures"] == before["failures"]
    assert 0 < after["latency_ms"]["p50"] <= after["latency_ms"]["p90"]
    assert after["uptime_s"] > 0 and after["peak_memory_bytes"] > 1e6 and "temperature_c" in after["telemetry"]


def test_a_percentile_waits_for_its_samples(serving, artifacts, inputs):
    """With 10 answers there is no median, with 11 there is, and no 90th percentile before 64."""
    running = serving("--runtime", "litert", "--artifact", artifacts["tflite", "float32"], "--name", "small")
    service.ask(running.path, "small", {name: array[:10] for name, array in inputs.items()})
    assert running.get("/v2/models/small/stats")[1]["latency_ms"] == {"of": 10, "p50": None, "p90": None}
    service.ask(running.path, "small", {name: array[:1] for name, array in inputs.items()})
    latency = running.get("/v2/models/small/stats")[1]["latency_ms"]
    assert latency["p50"] > 0 and latency["p90"] is None
