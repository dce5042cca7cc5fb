"""The service: one file that keeps a model loaded on a device, and answers inferences over a UNIX socket.

It needs the standard library, NumPy and one runtime, on Python 3.7 or later, and is copied to devices as it is. The
runner's file lies beside it, and does all that has to do with runtimes: what it does not know goes to the runner.

    python3 service.py --socket service.sock --name MODEL --version ID --runtime litert --artifact model.tflite
    python3 service.py --check --runtime litert --artifact model.tflite
    python3 service.py --ask service.sock --inputs in.npz --outputs out.npz

Requests are HTTP by the Open Inference Protocol (KServe's V2) with Triton's binary tensor data extension, real numbers
in and out as the runner has them; the leading dimension is that of samples, which run one at a time:

    GET /v2, /v2/health/live, /v2/health/ready, /v2/models
    GET /v2/models/NAME, /v2/models/NAME/ready, /v2/models/NAME/stats
    POST /v2/models/NAME/infer

Beside the socket lies a file .pid: the process, when it began and under which boot; then what runs, as JSON.
Exit status: 0 stopped by SIGTERM, 1 the artifact or the answer failed, 2 usage or the socket is taken, 3 the runtime is
not installed.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, check-untyped-defs=False

import argparse
import collections
import contextlib
import fcntl
import http.client
import importlib
import importlib.util
import io
import json
import os
import re
import select
import signal
import socket
import socketserver
import stat
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from urllib.parse import quote, unquote

# What lies beside it, such as a model's own host.py, must not hide a package.
_HERE = os.path.dirname(os.path.realpath(__file__))
if __name__ == "__main__":
    sys.path[:] = [path for path in sys.path if os.path.realpath(path or os.curdir) != _HERE]

import numpy as np  # noqa: E402

# Of what this file answers and writes.
VERSION = "1"
DATATYPES = {"bool": "BOOL", "float16": "FP16", "float32": "FP32", "float64": "FP64"}
DATATYPES.update({"int{}".format(bits): "INT{}".format(bits) for bits in (8, 16, 32, 64)})
DATATYPES.update({"uint{}".format(bits): "UINT{}".format(bits) for bits in (8, 16, 32, 64)})
DTYPES = {datatype: np.dtype(dtype).newbyteorder("<") for dtype, datatype in DATATYPES.items()}
# At the end, requests that have arrived get so long for their answers.
STOP_S = 15.0
CONNECTIONS = 32
# A number of JSON takes at most 24 bytes, a comma and spaces; names and shapes lie in what is added.
JSON_BYTES, HEAD_BYTES = 32, 1 << 16
# Where the host code's inputs are not known.
UNKNOWN_BYTES = 64 << 20
LATENCIES = 1000
# A percentile is told from so many samples on: MLPerf's early stopping at 99 % confidence.
FEWEST = {50: 11, 90: 64}
LOG_BYTES = 1 << 18


class Refused(Exception):
    """A request that is not answered: why, and the HTTP status."""

    def __init__(self, text, status=400):
        Exception.__init__(self, text)
        self.status = status


class Failed(Exception):
    """The service does not start: why, and the exit status."""

    def __init__(self, text, status):
        Exception.__init__(self, text)
        self.status = status


# Requests and answers as bytes.


def read_request(body, head_bytes):
    """Return the request's JSON object and the arrays of its inputs by name.

    ``head_bytes`` is how much of the body is JSON, the rest being the inputs' binary data in their order; None where
    all of it is.
    """
    head = body if head_bytes is None else body[:head_bytes]
    rest = memoryview(b"" if head_bytes is None else body)[head_bytes or 0 :]
    try:
        request = json.loads(head, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Refused("Expected a body of JSON. Got: {}.".format(_short(error))) from None
    if not isinstance(request, dict) or not isinstance(request.get("inputs"), list):
        got = _short(head[:60].decode("utf-8", "replace"))
        raise Refused("Expected a JSON object with a list of inputs. Got: {}.".format(got))
    if not isinstance(request.get("id", ""), str):
        raise Refused("Expected a string as the request's id. Got: {}.".format(_short(request["id"])))
    arrays = {}
    for tensor in request["inputs"]:
        name, array, rest = _read_tensor(tensor, rest)
        if name in arrays:
            raise Refused("Expected each input once. Got: {} twice.".format(name))
        arrays[name] = array
    if len(rest):
        text = "Expected as much binary data as the inputs tell. Got: {} bytes more."
        raise Refused(text.format(len(rest)))
    return request, arrays


def _no_constant(text):
    raise Refused("Expected JSON, which has no NaN and no infinity: send binary data. Got: {}.".format(text))


def _read_tensor(tensor, rest):
    """Return an input's name, its array, and the binary data that is left."""
    if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
        raise Refused("Expected inputs that are objects with a name. Got: {}.".format(_short(tensor)))
    name, shape, datatype = tensor["name"], tensor.get("shape"), tensor.get("datatype")
    if not isinstance(datatype, str) or datatype not in DTYPES:
        raise Refused("Expected a datatype of {} for {}. Got: {}.".format(", ".join(DTYPES), name, _short(datatype)))
    if not isinstance(shape, list) or len(shape) > 32 or not all(type(each) is int and each >= 0 for each in shape):
        raise Refused("Expected a shape of whole numbers for {}. Got: {}.".format(name, _short(shape)))
    dtype, count = DTYPES[datatype], 1
    for each in shape:
        count *= each
    size = _parameters(tensor).get("binary_data_size")
    if (size is None) == ("data" not in tensor):
        raise Refused("Expected data or binary_data_size for {}. Got: {}.".format(name, "both" if size else "neither"))
    if size is None:
        return name, _numbers(name, tensor["data"], shape, count, dtype), rest
    if size != count * dtype.itemsize or size > len(rest):
        text = "Expected {} bytes of binary data for {}, {} {}. Got: binary_data_size {} and {} bytes."
        raise Refused(text.format(count * dtype.itemsize, name, datatype, shape, _short(size), len(rest)))
    if dtype.kind == "b" and any(byte > 1 for byte in set(bytes(rest[:size]))):
        raise Refused("Expected bytes of 0 and 1 for {}. Got: others.".format(name))
    # A copy, which lies at an address that the processor likes and which host code may write to.
    return name, np.array(np.frombuffer(rest[:size], dtype)).reshape(shape), rest[size:]


def _parameters(of):
    """Return the parameters of a request, an input or an output."""
    found = of.get("parameters") or {}
    if not isinstance(found, dict):
        raise Refused("Expected parameters that are an object. Got: {}.".format(_short(found)))
    return found


def _numbers(name, data, shape, count, dtype):
    """Return the array of an input's JSON data: nested lists, or flat in row-major order."""
    try:
        array = np.asarray(data if isinstance(data, list) else None)
    except (ValueError, OverflowError):
        array = np.asarray(None)
    if array.dtype.kind not in ("b" if dtype.kind == "b" else "iuf") and array.size:
        kind = "true and false" if dtype.kind == "b" else "numbers"
        raise Refused("Expected lists of {} as data of {}. Got: {}.".format(kind, name, _short(data)))
    if array.size != count or (array.ndim > 1 and list(array.shape) != shape):
        raise Refused("Expected {} numbers, {}, as data of {}. Got: {}.".format(count, shape, name, list(array.shape)))
    with np.errstate(all="ignore"):
        stored = array.astype(dtype)
    if not (np.isfinite(stored).all() if dtype.kind == "f" else np.array_equal(stored, array)):
        raise Refused("Expected numbers that {} holds as data of {}. Got: others.".format(DATATYPES[dtype.name], name))
    return stored.reshape(shape)


def check_inputs(arrays, inputs, most):
    """Refuse inputs that are not the model's, or too many samples; ``inputs`` is None where they are not known."""
    if inputs is not None and set(arrays) != {tensor["name"] for tensor in inputs}:
        text = "Expected the inputs {}. Got: {}."
        raise Refused(text.format(_listed(tensor["name"] for tensor in inputs), _listed(arrays)))
    for tensor in inputs or []:
        name, datatype, sizes = tensor["name"], tensor["datatype"], tensor["shape"][1:]
        array = arrays[name]
        if DATATYPES[array.dtype.name] != datatype or array.ndim != 1 + len(sizes) or list(array.shape[1:]) != sizes:
            text = "Expected {} as {} [{}]. Got: {} {}."
            wanted = ", ".join(["samples"] + [str(size) for size in sizes])
            raise Refused(text.format(name, datatype, wanted, DATATYPES[array.dtype.name], list(array.shape)))
    counts = {name: array.shape[0] if array.ndim else 0 for name, array in arrays.items()}
    if len(set(counts.values())) != 1 or not 1 <= max(counts.values()) <= most:
        got = _listed("{} {}".format(name, counts[name]) for name in counts)
        raise Refused("Expected 1 to {} samples, as many in each input. Got: {}.".format(most, got))


def wanted_outputs(request, known):
    """Return (name, whether as binary data) of each output that is asked for, of all where none is named."""
    binary = _parameters(request).get("binary_data_output", False)
    wanted = request.get("outputs") or [{"name": name} for name in known]
    if not isinstance(wanted, list):
        raise Refused("Expected a list of outputs. Got: {}.".format(_short(wanted)))
    found = []
    for tensor in wanted:
        name = tensor.get("name") if isinstance(tensor, dict) else None
        if name not in known:
            raise Refused("Expected outputs of {}. Got: {}.".format(_listed(known), _short(name)))
        found.append((name, bool(_parameters(tensor).get("binary_data", binary))))
    return found


def write_outputs(outputs, wanted):
    """Return outputs as the protocol has them, and the binary data of those that are wanted so."""
    tensors, blobs = [], []
    for name, binary in wanted:
        array = np.asarray(outputs[name])
        if array.dtype.name not in DATATYPES:
            raise Refused("Expected numbers as output {}. Got: {}.".format(name, array.dtype), 500)
        tensor = {"name": name, "datatype": DATATYPES[array.dtype.name], "shape": list(array.shape)}
        if binary:
            blobs.append(array.astype(DTYPES[tensor["datatype"]]).tobytes())
            tensor["parameters"] = {"binary_data_size": len(blobs[-1])}
        elif array.dtype.kind == "f" and not np.isfinite(array).all():
            text = "Expected finite numbers as output {} in JSON: ask for binary data. Got: others."
            raise Refused(text.format(name), 500)
        else:
            tensor["data"] = array.ravel().tolist()
        tensors.append(tensor)
    return tensors, blobs


def _listed(names):
    return _short(", ".join(sorted(names)) or "none", 300)


def _short(what, most=100):
    """Return what was received on one line, and not too long of it."""
    text = what if isinstance(what, str) else repr(what) if not isinstance(what, Exception) else str(what)
    text = " ".join(text.split()).rstrip(".")
    return text if len(text) <= most else text[:most] + "..."


# The model.


class Model(object):
    """A loaded program with its name, that runs one sample at a time and counts."""

    def __init__(self, runner, program, name, version, platform, example=None, limit_s=30.0):
        self.runner, self.program, self.limit_s = runner, program, limit_s
        self.name, self.version, self.platform = name, version, platform
        self.lock, self.counting = threading.Lock(), threading.Lock()
        # Boards without a clock of their own set the time after the start.
        self.since, self.began_s = _utc(time.time()), time.monotonic()
        self.taken_ms = collections.deque(maxlen=LATENCIES)
        self.count = self.failures = self.refused = 0
        self.inputs = self.outputs = self.first_ms = None
        if hasattr(program, "model"):
            self.inputs = [_described(tensor) for tensor in program.model.inputs]
            example = example or {t["name"]: np.zeros([1] + t["shape"][1:], DTYPES[t["datatype"]]) for t in self.inputs}
        if example is not None:
            # Host code does not say what it takes and gives: what it is shown and answers does.
            self.inputs = self.inputs or _described_arrays(example)
            check_inputs(example, self.inputs, 1)
            before = time.perf_counter()
            self.outputs = _described_arrays(self.answer(example))
            self.first_ms = (time.perf_counter() - before) * 1e3
            self.count = 0
            self.taken_ms.clear()

    def answer(self, inputs):
        """Return the outputs for inputs [samples, ...] by name."""
        try:
            samples = self.program.samples(inputs)
        except self.runner.InputsError as error:
            raise Refused(_sentence(error)) from None
        answers = []
        for sample in samples:
            if not self.lock.acquire(timeout=self.limit_s):
                raise Refused(
                    "Expected the model to be free within {:g} s. Got: one at work.".format(self.limit_s), 503
                )
            try:
                before = time.perf_counter()
                answers.append(self.program.run(sample))
                taken_ms = (time.perf_counter() - before) * 1e3
                answers[-1] = self.runner.copied(answers[-1])
            finally:
                self.lock.release()
            with self.counting:
                self.count += 1
                self.taken_ms.append(taken_ms)
        return self.program.collect(answers)

    def limit_bytes(self, most):
        """Return how long a request of so many samples may be."""
        if self.inputs is None:
            return UNKNOWN_BYTES
        sizes = [int(np.prod(tensor["shape"][1:], dtype=np.int64)) for tensor in self.inputs]
        return HEAD_BYTES + JSON_BYTES * most * sum(sizes)

    def described(self):
        """Return the protocol's metadata of the model; without inputs and outputs where they are not known."""
        ends = {"inputs": self.inputs or [], "outputs": self.outputs or []}
        return dict({"name": self.name, "versions": [self.version], "platform": self.platform}, **ends)

    def stats(self):
        """Return what it did so far, and what the device tells of its state."""
        with self.counting:
            taken = list(self.taken_ms)
            counts = {"count": self.count, "failures": self.failures, "refused": self.refused}
        latency = {"of": len(taken)}
        for percent, fewest in FEWEST.items():
            latency["p{}".format(percent)] = float(np.percentile(taken, percent)) if len(taken) >= fewest else None
        found = {"name": self.name, "version": self.version, "since": self.since}
        found.update(counts, uptime_s=time.monotonic() - self.began_s, latency_ms=latency)
        found.update(peak_memory_bytes=self.runner.peak_memory_bytes(), telemetry=self.runner.telemetry())
        return found


def _described(tensor):
    # Real numbers go in and out where the file stores integers with a scale.
    datatype = "FP32" if tensor.scale else DATATYPES[tensor.dtype.name]
    return {"name": tensor.name, "datatype": datatype, "shape": [-1] + list(tensor.shape[1:])}


def _described_arrays(arrays):
    return [
        {"name": name, "datatype": DATATYPES[array.dtype.name], "shape": [-1] + list(array.shape[1:])}
        for name, array in sorted(arrays.items())
    ]


def _sentence(error):
    """Return the runner's "expected ..., got ..." as a sentence of its own."""
    text = _short(error, 400).replace(", got ", ". Got: ", 1)
    return text[:1].upper() + text[1:] + "."


def _utc(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


# The server.


class Timed(io.RawIOBase):
    """What a client sends, until a moment: a slow one gets no more time by sending a byte now and then."""

    def __init__(self, connection, limit_s):
        self.connection, self.limit_s = connection, limit_s
        self.begin()

    def begin(self):
        """Wait for a request, which from its first byte on has its own time."""
        self.until, self.idle = time.monotonic() + self.limit_s, True

    def readable(self):
        """Return True."""
        return True

    def readinto(self, into):
        """Read what is there; raise socket.timeout when the time is over."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise socket.timeout("too slow")
        self.connection.settimeout(left)
        size = self.connection.recv_into(into)
        if self.idle:
            self.until, self.idle = time.monotonic() + self.limit_s, False
        return size


class Handler(BaseHTTPRequestHandler):
    """One connection, with one request after the other."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "edgewright", ""
    unread = False

    def setup(self):
        """Read with a deadline."""
        BaseHTTPRequestHandler.setup(self)
        self.rfile.close()
        self.timed = Timed(self.connection, self.server.limit_s)
        self.rfile = io.BufferedReader(self.timed)

    def handle_one_request(self):
        """Give each request its own deadline."""
        self.unread = True
        self.timed.begin()
        BaseHTTPRequestHandler.handle_one_request(self)

    def do_GET(self):
        """Answer what the server and the model are, and whether they are ready."""
        self.unread = self.headers.get("Content-Length", "0") != "0"
        self.respond(self.told)

    def do_POST(self):
        """Answer an inference."""
        self.respond(self.inferred)

    def respond(self, work):
        """Send what comes of some work, or in one sentence why nothing does."""
        try:
            answer = work()
        except Refused as refused:
            self.refuse(refused)
        except Exception as error:  # a runtime or host code that fails on one input may answer the next
            text = "Expected an answer of {}. Got: {}: {}."
            self.refuse(Refused(text.format(self.server.name, type(error).__name__, _short(error, 300)), 500))
        else:
            self.reply(200, *answer)

    def refuse(self, refused):
        """Count a request that came to nothing, and say why."""
        model = self.server.model
        if model is not None:
            with model.counting:
                model.failures += refused.status == 500
                model.refused += refused.status != 500
        self.send_error(refused.status, str(refused))

    def told(self):
        """Return the answer to a GET."""
        parts = self.parts()
        if parts == ["v2"]:
            return ({"name": "edgewright", "version": VERSION, "extensions": ["binary_tensor_data", "stats"]},)
        if parts == ["v2", "health", "live"]:
            return ({"live": True},)
        if parts == ["v2", "health", "ready"]:
            self.loaded()
            return ({"ready": True, "live": True},)
        if parts == ["v2", "models"]:
            return ({"models": [self.server.name]},)
        verb = self.verb(parts)
        if verb not in ("", "ready", "stats"):
            raise Refused("Expected POST for {}. Got: GET.".format(_short(self.path)), 405)
        model = self.loaded()
        if verb == "ready":
            return ({"name": model.name, "ready": True},)
        return (model.stats() if verb == "stats" else model.described(),)

    def parts(self):
        """Return the path's parts."""
        return [unquote(part) for part in self.path.split("?")[0].strip("/").split("/")]

    def verb(self, parts):
        """Return what is asked of the model: "", "ready", "stats" or "infer"."""
        server = self.server
        if parts[:2] != ["v2", "models"] or len(parts) < 3:
            text = "Expected a path such as /v2/models/{}/infer. Got: {}."
            raise Refused(text.format(server.name, _short(self.path)), 404)
        if parts[2] != server.name:
            raise Refused("Expected the model {}. Got: {}.".format(server.name, _short(parts[2])), 404)
        parts = parts[3:]
        if parts[:1] == ["versions"]:
            if parts[1:2] != [server.version]:
                got = _short("".join(parts[1:2]) or "none")
                raise Refused("Expected version {} of {}. Got: {}.".format(server.version, server.name, got), 404)
            parts = parts[2:]
        verb = "/".join(parts)
        if verb not in ("", "ready", "stats", "infer"):
            raise Refused("Expected infer, ready or stats of {}. Got: {}.".format(server.name, _short(verb)), 404)
        return verb

    def loaded(self):
        """Return the model."""
        if self.server.model is None:
            raise Refused("Expected {} to be loaded. Got: one that is loading.".format(self.server.name), 503)
        return self.server.model

    def inferred(self):
        """Return the answer to an inference, and its binary data."""
        if self.verb(self.parts()) != "infer":
            raise Refused("Expected GET for {}. Got: POST.".format(_short(self.path)), 405)
        model, most = self.loaded(), self.server.batch
        body = self.body(model.limit_bytes(most))
        head_bytes = self.headers.get("Inference-Header-Content-Length")
        if head_bytes is not None and not (re.fullmatch("[0-9]{1,12}", head_bytes) and int(head_bytes) <= len(body)):
            text = "Expected an Inference-Header-Content-Length of at most {}. Got: {}."
            raise Refused(text.format(len(body), _short(head_bytes)))
        request, arrays = read_request(body, None if head_bytes is None else int(head_bytes))
        del body
        check_inputs(arrays, model.inputs, most)
        wanted = None if model.outputs is None else wanted_outputs(request, [t["name"] for t in model.outputs])
        outputs = model.answer(arrays)
        tensors, blobs = write_outputs(outputs, wanted or wanted_outputs(request, sorted(outputs)))
        answer = {"model_name": model.name, "model_version": model.version, "outputs": tensors}
        if "id" in request:
            answer["id"] = request["id"]
        return answer, blobs

    def body(self, most):
        """Return the request's body."""
        length = self.headers.get("Content-Length", "")
        if self.headers.get("Transfer-Encoding") or not re.fullmatch("[0-9]{1,15}", length):
            raise Refused("Expected a body whose Content-Length is told. Got: {}.".format(_short(length or "none")))
        if int(length) > most:
            raise Refused("Expected a request of at most {} bytes. Got: {}.".format(most, length))
        try:
            body = self.rfile.read(int(length))
        except OSError as error:
            text = "Expected {} bytes within {:g} s. Got: {}."
            raise Refused(text.format(length, self.server.limit_s, _short(error)), 408) from None
        self.unread = len(body) < int(length)
        if self.unread:
            raise Refused("Expected a body of {} bytes. Got: {}.".format(length, len(body)))
        return body

    def reply(self, status, answer, blobs=()):
        """Send an answer: JSON, and binary data behind it."""
        text = json.dumps(answer).encode()
        self.connection.settimeout(self.server.limit_s)
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream" if blobs else "application/json")
        if blobs:
            self.send_header("Inference-Header-Content-Length", str(len(text)))
        self.send_header("Content-Length", str(len(text) + sum(len(blob) for blob in blobs)))
        if status >= 400 or self.unread or self.server.stopping:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"".join([text] + list(blobs)))

    def send_error(self, code, message=None, explain=None):
        """Send an error as the protocol has it; also what the base class finds wrong with a request."""
        text = message or http.client.responses.get(code, "")
        text = text if text.startswith("Expected ") else "Expected an HTTP request. Got: {}.".format(_short(text))
        self.server.log("{}: {}".format(int(code), text))
        self.close_connection = True
        self.request_version = self.protocol_version  # where the request's own could not be read
        try:
            self.reply(int(code), {"error": text})
            if self.unread:
                self.drain()
        except OSError:  # who asked is gone
            pass

    def drain(self):
        """Let who asked finish, for a while: closed at once, a UNIX socket would cut off the answer."""
        self.connection.shutdown(socket.SHUT_WR)
        self.timed.until = time.monotonic() + 2.0
        while self.rfile.read1(1 << 16):
            pass

    def log_message(self, format, *arguments):
        """Say nothing of requests that were answered."""


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Connections at a UNIX socket, each in a thread of its own."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, path, name, version, batch, limit_s):
        self.path, self.name, self.version, self.batch, self.limit_s = path, name, version, batch, limit_s
        self.model, self.stopping = None, False
        self.open, self.guard = set(), threading.Lock()
        self.logged, self.left_out = 0, False
        socketserver.UnixStreamServer.__init__(self, path, Handler)
        self.node = os.lstat(path)

    def process_request(self, request, client_address):
        """Give a connection a thread, unless there are too many."""
        with self.guard:
            full = len(self.open) >= CONNECTIONS
            if not full:
                self.open.add(request)
        if full:
            text = json.dumps({"error": "Expected at most {} connections. Got: one more.".format(CONNECTIONS)})
            head = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n"
            request.settimeout(0)
            with contextlib.suppress(OSError):
                request.send("{}Content-Length: {}\r\n\r\n{}".format(head, len(text), text).encode())
            self.shutdown_request(request)
            return
        try:
            socketserver.ThreadingMixIn.process_request(self, request, client_address)
        except Exception:  # no thread to be had
            self.forget(request)
            raise

    def process_request_thread(self, request, client_address):
        """Serve a connection to its end."""
        try:
            socketserver.ThreadingMixIn.process_request_thread(self, request, client_address)
        finally:
            self.forget(request)

    def forget(self, request):
        """Free a connection's place."""
        with self.guard:
            self.open.discard(request)

    def handle_error(self, request, client_address):
        """Log what ended a connection, other than its client."""
        kind, error = sys.exc_info()[:2]
        if not issubclass(kind, OSError):
            self.log("{}: {}".format(kind.__name__, error))

    def log(self, text):
        """Write a line to stderr; a client that goes on being refused must not fill the disk."""
        line = "{} {}\n".format(_utc(time.time()), _short(text, 600)).encode("utf-8", "replace")
        self.logged += len(line)
        if self.logged <= LOG_BYTES:
            os.write(2, line)
        elif not self.left_out:
            self.left_out = True
            os.write(2, b"The log is full: further lines are left out.\n")

    def stop(self):
        """Take no more requests, answer those that have arrived, and remove the socket."""
        self.stopping = True
        try:
            now = os.lstat(self.path)
            if (now.st_dev, now.st_ino) == (self.node.st_dev, self.node.st_ino):
                os.unlink(self.path)
        except OSError:  # someone removed it
            pass
        self.shutdown()
        self.socket.setblocking(False)
        with contextlib.suppress(OSError):
            while True:  # who had come before the socket was removed
                self.process_request(*self.get_request())
        self.server_close()
        with self.guard:
            connections = list(self.open)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RD)  # what has arrived can still be read
        until = time.monotonic() + STOP_S
        while self.open and time.monotonic() < until:
            time.sleep(0.01)


def claim(path, *facts):
    """Return a server that listens at a path, with further facts of it; what a killed one left there is replaced.

    Raises Failed where someone listens, or something else lies there.
    """
    wish = "Expected a place for a socket at {}.".format(path)
    try:
        folder = os.open(os.path.dirname(path) or os.curdir, os.O_RDONLY)
    except OSError as error:
        raise Failed("{} Got: {}.".format(wish, error.strerror), 2) from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # of two that start at once, one is second
        if os.path.lexists(path):
            if not stat.S_ISSOCK(os.lstat(path).st_mode):
                raise Failed("{} Got: another file there.".format(wish), 2)
            if _listens(path):
                raise Failed("{} Got: one at which a process answers.".format(wish), 2)
            os.unlink(path)
        mask = os.umask(0o177)
        try:
            return Server(path, *facts)
        finally:
            os.umask(mask)
    except OSError as error:  # a path that is too long, too
        raise Failed("{} Got: {}.".format(wish, error.strerror or error), 2) from None
    finally:
        os.close(folder)


def _listens(path):
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:  # it is busy
            return True
    return True


class Record(object):
    """The file beside the socket that says which process it is, and as JSON what runs."""

    def __init__(self, server):
        self.path = os.path.splitext(server.path)[0] + ".pid"
        self.facts = {"running": True, "ready": False, "pid": os.getpid(), "name": server.name}
        self.facts.update(version=server.version, since=_utc(time.time()))

    def write(self, ready):
        """Write it beside and rename it."""
        self.facts["ready"] = ready
        # The process' start in ticks since boot: another process may be given the number later.
        # That of its first thread, which began with it: QEMU makes the process' own up.
        born = _content("/proc/self/task/{}/stat".format(os.getpid())).rpartition(")")[2].split()[19:20]
        boot = _content("/proc/sys/kernel/random/boot_id").split()
        identity = [str(os.getpid())] + (born or ["-"]) + (boot or ["-"])
        with open(self.path + ".part", "w") as file:
            file.write("{}\n{}\n".format(" ".join(identity), json.dumps(self.facts)))
        os.replace(self.path + ".part", self.path)

    def remove(self):
        """Remove it, if it is still this process' own."""
        with contextlib.suppress(OSError):
            if _content(self.path).split()[:1] == [str(os.getpid())]:
                os.remove(self.path)


def _content(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def load_model(runner, options, own):
    """Return the model after its first answer; raise Failed where there is none."""
    name, version = named(options, own)
    try:
        importlib.import_module(runner.LOADERS[options.runtime][0])
    except Exception as error:
        text = "Expected the runtime {} to be installed. Got: {}: {}."
        raise Failed(text.format(options.runtime, type(error).__name__, _short(error, 300)), 3) from None
    try:
        platform = "{} {}".format(options.runtime, runner.version_of(runner.LOADERS[options.runtime][0]) or "").strip()
        return Model(runner, runner.load(options), name, version, platform, _example(own.example), own.limit_s)
    except Exception as error:  # whatever a runtime raises
        text = "Expected {} to load and to answer. Got: {}: {}."
        raise Failed(text.format(name, type(error).__name__, _short(error, 300)), 1) from None


def named(options, own):
    """Return the model's name and version: what was asked for, or the artifact's name and 1."""
    artifact = options.artifact[0].split("=")[-1]
    return own.name or os.path.splitext(os.path.basename(artifact))[0], own.version


def _example(path):
    """Return the first sample of an .npz file by input name; of a bundle's golden.npz without the outputs."""
    if not path:
        return None
    with np.load(path, allow_pickle=False) as arrays:
        prefix = "input/" if any(name.startswith("input/") for name in arrays.files) else ""
        return {name[len(prefix) :]: arrays[name][:1] for name in arrays.files if name.startswith(prefix)}


def tell_systemd(state):
    """Tell systemd a state of the unit that this is, where it is one (sd_notify(3))."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    # An abstract socket's name begins with a zero byte, written as @.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line, contextlib.suppress(OSError):
        line.sendto(state.encode(), "\0" + path[1:] if path.startswith("@") else path)


def serve(runner, options, own):
    """Serve until SIGTERM; return the exit status."""
    reader, writer = os.pipe()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os.write(writer, b"."))
    name, version = named(options, own)
    server = claim(own.socket, name, version, own.batch, own.limit_s)
    record = Record(server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        record.write(False)
        server.model = load_model(runner, options, own)
        status, _, content = call(own.socket, "GET", "/v2/health/ready")
        if status != 200:
            raise Failed("Expected an answer at {}. Got: {}.".format(own.socket, content), 1)
        if not select.select([reader], [], [], 0)[0]:
            record.write(True)
            server.log("{} {} is ready".format(name, version))
            tell_systemd("READY=1")
        os.read(reader, 1)
    finally:
        server.stop()
        record.remove()
    server.log("{} {} is stopped".format(name, version))
    return 0


def check(runner, options, own):
    """Load the model and answer one sample, of zeros where no example is given; return what is printed."""
    before = time.perf_counter()
    model = load_model(runner, options, own)
    answer = {"ok": True, "load_ms": (time.perf_counter() - before) * 1e3 - (model.first_ms or 0.0)}
    answer.update(model.described(), answered=model.outputs is not None, first_ms=model.first_ms)
    answer["peak_memory_bytes"] = runner.peak_memory_bytes()
    return answer


# The client: what follows is all that another program needs in order to ask.


def call(path, method, url, body=None, headers=None, timeout_s=60.0):
    """Return the HTTP status, headers and content that a UNIX socket answers a request with."""
    connection = http.client.HTTPConnection("localhost", timeout=timeout_s)
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.settimeout(timeout_s)
        connection.sock.connect(path)
        with contextlib.suppress(BrokenPipeError):  # refused before it was sent: why can still be read
            connection.request(method, url, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def ask(path, model, inputs, timeout_s=60.0):
    """Return a model's outputs for inputs [samples, ...], arrays by name; raise RuntimeError where it refuses."""
    named, blobs = [], []
    for name, array in inputs.items():
        blobs.append(np.asarray(array).astype(DTYPES[DATATYPES[array.dtype.name]]).tobytes())
        tensor = {"name": name, "datatype": DATATYPES[array.dtype.name], "shape": list(array.shape)}
        named.append(dict(tensor, parameters={"binary_data_size": len(blobs[-1])}))
    head = json.dumps({"inputs": named, "parameters": {"binary_data_output": True}}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    url = "/v2/models/{}/infer".format(quote(model, safe=""))
    status, headers, content = call(path, "POST", url, b"".join([head] + blobs), headers, timeout_s)
    if status != 200:
        raise RuntimeError(json.loads(content)["error"])
    place = int(headers["Inference-Header-Content-Length"])
    outputs = {}
    for tensor in json.loads(content[:place])["outputs"]:
        size = tensor["parameters"]["binary_data_size"]
        array = np.frombuffer(content[place : place + size], DTYPES[tensor["datatype"]])
        outputs[tensor["name"]] = array.reshape(tensor["shape"])
        place += size
    return outputs


def asked(runner, own):
    """Ask with the arrays of a file, and write the answer to another; return what is printed."""
    with np.load(own.inputs, allow_pickle=False) as arrays:
        inputs = {name: arrays[name] for name in arrays.files}
    name = own.name or json.loads(call(own.ask, "GET", "/v2/models")[2])["models"][0]
    before = time.perf_counter()
    outputs = ask(own.ask, name, inputs)
    taken_ms = (time.perf_counter() - before) * 1e3
    runner.save(own.outputs, outputs)
    return {"ok": True, "name": name, "ms": taken_ms}


def load_runner(path):
    """Return the runner's file as a module."""
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec = importlib.util.spec_from_file_location("edgewright_runner", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except (OSError, SyntaxError, AttributeError) as error:
        raise Failed("Expected the runner's file at {}. Got: {}.".format(path, error), 2) from None
    finally:
        sys.dont_write_bytecode = written
    return module


def parse(arguments):
    """Return the options that are the service's own, and the arguments that are left to the runner."""
    parser = argparse.ArgumentParser(
        description="Keep a model loaded, and answer inferences over a UNIX socket.",
        epilog="Further options are the runner's, such as --runtime, --artifact, --threads and --delegate.",
        allow_abbrev=False,
    )
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--socket", help="where to serve")
    way.add_argument("--check", action="store_true", help="load, answer one sample, print JSON, and end")
    way.add_argument("--ask", metavar="SOCKET", help="ask the service at a socket, and end")
    parser.add_argument("--runner", default=os.path.join(_HERE, "runner.py"), help="the runner's file")
    parser.add_argument("--name", help="the model's; by default the artifact's")
    parser.add_argument("--version", default="1", help="the model's")
    parser.add_argument("--example", help=".npz whose first sample is answered at the start: what host code takes")
    parser.add_argument("--batch", type=int, default=16, help="the most samples in a request")
    limit = "seconds for a request to arrive, again to wait for its turn, and again for its answer to be taken"
    parser.add_argument("--limit-s", type=float, default=30.0, help=limit)
    parser.add_argument("--inputs", help=".npz to ask with")
    parser.add_argument("--outputs", help=".npz to write the answer to")
    own, rest = parser.parse_known_args(arguments)
    if own.ask and not (own.inputs and own.outputs and not rest):
        parser.error("--ask takes --inputs and --outputs, and nothing of the runner's")
    if own.batch < 1:
        parser.error("--batch takes 1 or more")
    return own, rest


def main(arguments=None):
    """Serve, check or ask; return the exit status."""
    own, rest = parse(arguments)
    # Runtimes write to stdout too: it is theirs, and what is printed goes to a copy of it.
    printed = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        runner = load_runner(own.runner)
        if own.ask:
            answer = asked(runner, own)
        else:
            options = runner.parse(rest + ["--inputs", "-", "--outputs", "-"])
            if options.cores:
                os.sched_setaffinity(0, options.cores)
            if own.socket:
                return serve(runner, options, own)
            answer = check(runner, options, own)
    except Failed as failed:
        answer, status = {"ok": False, "message": str(failed)}, failed.status
    except (OSError, ValueError, KeyError, RuntimeError) as error:  # of asking
        answer, status = {"ok": False, "message": _short(error, 600) + "."}, 1
    else:
        status = 0
    if own.socket:
        os.write(2, "{} {}\n".format(_utc(time.time()), answer["message"]).encode("utf-8", "replace"))
        return status
    json.dump(answer, printed)
    printed.write("\n")
    printed.close()
    return status


if __name__ == "__main__":
    # Threads that are still at work in a runtime must not be torn down with the interpreter.
    ended = main()
    sys.stderr.flush()
    os._exit(ended)
