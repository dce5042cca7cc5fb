"""The runner: one file that loads an artifact, runs inputs through it, measures, and answers in JSON.

It needs the standard library, NumPy and one runtime, on Python 3.7 or later, and is copied to devices as it is:

    python3 _runner.py --runtime litert --artifact model.tflite --inputs in.npz --outputs out.npz --measure

The inputs hold an array [samples, ...] for each input of the model, by name; the model runs one sample at a time. Float
inputs of a quantized model are quantized here, and its outputs dequantized. One JSON document is printed to stdout.

With --count N the first sample is run N more times between marks that an emulator counts instructions by.

With --host FILE the answer to a sample is made by the class Host in that file, which calls one or more graphs: then
each --artifact is GRAPH=FILE, and the inputs are what Host.run takes.
Exit status: 0 done, 1 the artifact or the inputs failed, 2 usage, 3 the runtime is not installed.
"""

import argparse
import gc
import importlib
import json
import os
import platform
import sys
import time
import zipfile

# In its folder lie adapters named onnxruntime and openvino, which would hide the packages of those names.
_HERE = os.path.dirname(os.path.realpath(__file__))
if __name__ == "__main__":
    sys.path[:] = [path for path in sys.path if os.path.realpath(path or os.curdir) != _HERE]

import numpy as np  # noqa: E402

SCHEMA = 1
# A system call that no kernel has: it does nothing, and an emulator sees it (_instructions.c).
MARK = 0x7E57
# Inferences before those that are counted: by then Python and the runtimes do what they do in every further one.
COUNT_WARMUP_RUNS = 5


class Tensor(object):
    """An input or output: name, shape, dtype as stored, and scale and zero point when it is quantized."""

    def __init__(self, name, shape, dtype, scale=None, zero_point=None, key=None):
        self.name = name
        self.shape = tuple(int(size) for size in shape)
        self.dtype = np.dtype(dtype)
        self.scale = scale
        self.zero_point = zero_point
        self.key = name if key is None else key

    def plain(self):
        """Return it as plain data for JSON."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "dtype": self.dtype.name,
            "scale": self.scale,
            "zero_point": self.zero_point,
        }


def quantize(values, scale, zero_point, dtype):
    """Return the stored integers: round(values / scale) + zero_point, half to even, clipped to the dtype's range."""
    limits = np.iinfo(dtype)
    stored = np.divide(values, scale, dtype=np.float64)
    np.rint(stored, out=stored)
    stored += zero_point
    return np.clip(stored, limits.min, limits.max, out=stored).astype(dtype)


def dequantize(stored, scale, zero_point):
    """Return the real values: scale * (stored - zero_point), float32."""
    values = np.subtract(stored, zero_point, dtype=np.float64)
    values *= scale
    return values.astype(np.float32)


class TFLite(object):
    """A TFLite interpreter: LiteRT's or tflite-runtime's, which have one interface."""

    def __init__(self, module, artifact, threads, delegates=True):
        settings = {"model_path": artifact, "num_threads": threads}
        if not delegates:
            settings["experimental_op_resolver_type"] = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        self.interpreter = module.Interpreter(**settings)
        self.interpreter.allocate_tensors()
        self.inputs, self.outputs = self._signature()

    def _signature(self):
        signatures = self.interpreter.get_signature_list()
        if signatures:
            name = "serving_default" if "serving_default" in signatures else sorted(signatures)[0]
            runner = self.interpreter.get_signature_runner(name)
            inputs, outputs = runner.get_input_details(), runner.get_output_details()
        else:
            inputs = {_bare(detail["name"]): detail for detail in self.interpreter.get_input_details()}
            outputs = {_bare(detail["name"]): detail for detail in self.interpreter.get_output_details()}
        return [[_tflite_tensor(name, details[name]) for name in sorted(details)] for details in (inputs, outputs)]

    def run(self, arrays):
        """Run one sample: what is timed is setting the inputs, the inference, and reading the outputs."""
        interpreter = self.interpreter
        for tensor, array in zip(self.inputs, arrays):
            interpreter.set_tensor(tensor.key, array)
        interpreter.invoke()
        return [interpreter.get_tensor(tensor.key) for tensor in self.outputs]


class OnnxRuntime(object):
    """ONNX Runtime's session on the CPU."""

    def __init__(self, module, artifact, threads):
        options = module.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = module.InferenceSession(artifact, options, providers=["CPUExecutionProvider"])
        self.inputs = [_onnx_tensor(value) for value in self.session.get_inputs()]
        self.outputs = [_onnx_tensor(value) for value in self.session.get_outputs()]
        self.names = [tensor.name for tensor in self.outputs]

    def run(self, arrays):
        """Run one sample: what is timed is the session's call, which takes and returns NumPy arrays."""
        return self.session.run(self.names, {tensor.name: array for tensor, array in zip(self.inputs, arrays)})


class OnnxReference(object):
    """ONNX's reference evaluator: the definition of each operation in NumPy; a referee, not a runtime."""

    # It has no implementation of QuantizeLinear and DequantizeLinear below this opset.
    OPSET = 19

    def __init__(self, module, artifact):
        onnx = importlib.import_module("onnx")
        model = onnx.load(artifact)
        if any(opset.domain == "" and opset.version < self.OPSET for opset in model.opset_import):
            model = importlib.import_module("onnx.version_converter").convert_version(model, self.OPSET)
        graph = model.graph
        self.evaluator = module.ReferenceEvaluator(model)
        constants = {constant.name for constant in graph.initializer}
        self.inputs = [self._tensor(onnx, value) for value in graph.input if value.name not in constants]
        self.outputs = [self._tensor(onnx, value) for value in graph.output]

    @staticmethod
    def _tensor(onnx, value):
        kind = value.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        return Tensor(value.name, [size.dim_value or 1 for size in kind.shape.dim], dtype)

    def run(self, arrays):
        """Run one sample."""
        return self.evaluator.run(None, {tensor.name: array for tensor, array in zip(self.inputs, arrays)})


class OpenVino(object):
    """OpenVINO on the CPU, computing in float32 where the model does (bfloat16 is its default where the CPU has it)."""

    def __init__(self, module, artifact, threads):
        self.settings = settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        if threads == 1 and platform.machine() == "x86_64":
            # On one thread of a CPU with AMX, 2026.4.1 fuses int8 dense layers into one kernel that computes nonsense
            # (right on two threads, with oneDNN held below AMX, and with this setting).
            settings["SNIPPETS_MODE"] = "DISABLE"
        model = module.Core().compile_model(artifact, "CPU", settings)
        self.request = model.create_infer_request()
        self.inputs = [self._tensor(port, place) for place, port in enumerate(model.inputs)]
        self.outputs = [self._tensor(port, place) for place, port in enumerate(model.outputs)]

    @staticmethod
    def _tensor(port, place):
        return Tensor(_bare(port.get_any_name()), port.shape, port.element_type.to_dtype(), key=place)

    def run(self, arrays):
        """Run one sample: what is timed is the request's call with its copy of inputs and outputs."""
        results = self.request.infer({tensor.key: array for tensor, array in zip(self.inputs, arrays)})
        return [results[tensor.key] for tensor in self.outputs]


def _bare(name):
    """Return a tensor's name without what converters put around it."""
    if name.startswith("serving_default_"):
        name = name[len("serving_default_") :]
    return name.split(":")[0]


def _tflite_tensor(name, detail):
    scale, zero_point = detail["quantization"]
    quantized = bool(scale) and np.issubdtype(detail["dtype"], np.integer)
    return Tensor(
        name,
        detail["shape"],
        detail["dtype"],
        float(scale) if quantized else None,
        int(zero_point) if quantized else None,
        key=detail["index"],
    )


def _onnx_tensor(value):
    # A dimension that the file leaves open is the batch.
    kinds = {"float": "float32", "double": "float64"}
    kind = value.type[len("tensor(") : -1]
    return Tensor(value.name, [size if isinstance(size, int) else 1 for size in value.shape], kinds.get(kind, kind))


def _tflite(module_name, delegates=True):
    def load(artifact, threads):
        return TFLite(importlib.import_module(module_name), artifact, threads, delegates)

    return load


# By the runtime's name: the module whose absence means "not installed", and the loader.
LOADERS = {
    "litert": ("ai_edge_litert.interpreter", _tflite("ai_edge_litert.interpreter")),
    "tflite_runtime": ("tflite_runtime.interpreter", _tflite("tflite_runtime.interpreter")),
    "litert_kernels": ("ai_edge_litert.interpreter", _tflite("ai_edge_litert.interpreter", delegates=False)),
    "onnxruntime": (
        "onnxruntime",
        lambda artifact, threads: OnnxRuntime(importlib.import_module("onnxruntime"), artifact, threads),
    ),
    "onnx_reference": (
        "onnx.reference",
        lambda artifact, threads: OnnxReference(importlib.import_module("onnx.reference"), artifact),
    ),
    "openvino": (
        "openvino",
        lambda artifact, threads: OpenVino(importlib.import_module("openvino"), artifact, threads),
    ),
}


class InputsError(Exception):
    """The inputs do not fit the model."""


def prepare(arrays, tensors, stored=None):
    """Return the samples as the model takes them: for each sample a list of arrays [1, ...] in the tensors' order.

    ``stored`` maps (array, tensor) to the array as the file stores it; ``as_stored`` where None.
    """
    expected = {tensor.name: tensor.shape for tensor in tensors}
    received = {name: array.shape for name, array in arrays.items()}
    if set(expected) != set(received):
        raise InputsError("expected inputs {}, got {}".format(sorted(expected), sorted(received)))
    for name, shape in expected.items():
        if len(received[name]) != len(shape) or received[name][1:] != shape[1:]:
            samples = ", ".join(["samples"] + [str(size) for size in shape[1:]])
            raise InputsError("expected {} as [{}], got {}".format(name, samples, list(received[name])))
    counts = {shape[0] for shape in received.values()}
    if len(counts) != 1 or 0 in counts:
        raise InputsError("expected as many samples, at least one, in each input, got {}".format(received))
    arrays = [(stored or as_stored)(arrays[tensor.name], tensor) for tensor in tensors]
    return [[array[place : place + 1] for array in arrays] for place in range(counts.pop())]


def as_stored(array, tensor):
    """Return an input's values as the file stores them.

    What comes is real numbers whatever its dtype, so for a quantized tensor integers are quantized like floats. Into an
    integer tensor that is not quantized, such as indices, only values that it holds exactly are taken.
    """
    if array.dtype.kind not in "fiub":
        raise InputsError("expected numbers in {}, got {}".format(tensor.name, array.dtype))
    if tensor.scale:
        if np.isnan(array).any():
            raise InputsError("expected numbers in {} to quantize to {}, got NaN".format(tensor.name, tensor.dtype))
        return quantize(array, tensor.scale, tensor.zero_point, tensor.dtype)
    if array.dtype == tensor.dtype:
        return np.ascontiguousarray(array)
    with np.errstate(invalid="ignore"):
        stored = np.ascontiguousarray(array, tensor.dtype)
    if tensor.dtype.kind in "iub" and not np.array_equal(stored, array):
        text = "expected {} as {}, got {} with values that are lost in it"
        raise InputsError(text.format(tensor.name, tensor.dtype, array.dtype))
    return stored


def collect(results, tensors):
    """Return the outputs of all samples, [samples, ...] float where the model stores integers, by name."""
    outputs = {}
    for place, tensor in enumerate(tensors):
        array = np.concatenate([np.reshape(result[place], tensor.shape) for result in results])
        if tensor.scale:
            array = dequantize(array, tensor.scale, tensor.zero_point)
        outputs[tensor.name] = array
    return outputs


class Program(object):
    """One model, as what is run and timed: a sample is its inputs as stored, an answer its outputs as stored."""

    def __init__(self, model):
        self.model = model
        self.run = model.run

    def samples(self, inputs):
        """Return the samples as ``run`` takes them."""
        return prepare(inputs, self.model.inputs)

    def collect(self, answers):
        """Return the outputs of all samples by name."""
        return collect(answers, self.model.outputs)

    def units(self):
        """Return how many units of work one answer is."""
        return 1


class Graph(object):
    """A model as host code calls it: real numbers by name in, real numbers by name out."""

    def __init__(self, name, model):
        self.name = name
        self.model = model
        self.calls = 0
        self.last = {}

    def __call__(self, inputs):
        self.calls += 1
        (sample,) = prepare(inputs, self.model.inputs, self.stored)
        return collect([[np.array(array) for array in self.model.run(sample)]], self.model.outputs)

    def stored(self, array, tensor):
        """Return an input as stored; what has not changed since the last call is not quantized again.

        An encoder's output that a decoder looks at is the same in every call; to quantize it took longer than the rest.
        """
        if not tensor.scale:
            return as_stored(array, tensor)
        real, known = self.last.get(tensor.name, (None, None))
        same = real is not None and (real.dtype, real.shape) == (array.dtype, array.shape) and (real == array).all()
        if not same:
            known = as_stored(array, tensor)
            # A copy, because the host may write into what it passes.
            self.last[tensor.name] = (array.copy(), known)
        return known


class HostProgram(object):
    """Host code around graphs, as what is run and timed: a sample is one of its inputs by name, likewise an answer."""

    def __init__(self, models, path, settings, per):
        self.graphs = {name: Graph(name, model) for name, model in models.items()}
        if per and per not in self.graphs:
            raise InputsError("expected a graph to count by: {}, got {}".format(sorted(self.graphs), per))
        self.per = per
        self.run = load_host(path)(self.graphs, settings).run
        self.before = 0

    def samples(self, inputs):
        """Return the samples as ``run`` takes them."""
        counts = {len(array) for array in inputs.values()}
        if len(counts) != 1 or 0 in counts:
            raise InputsError("expected as many samples, at least one, in each input, got {}".format(sorted(counts)))
        return [{name: array[place] for name, array in inputs.items()} for place in range(counts.pop())]

    def collect(self, answers):
        """Return the outputs of all samples by name."""
        return {name: np.stack([np.asarray(answer[name]) for answer in answers]) for name in answers[0]}

    def units(self):
        """Return how many units of work have been done since this was last asked: answers, or calls of one graph."""
        if not self.per:
            return 1
        calls = self.graphs[self.per].calls
        done, self.before = calls - self.before, calls
        return max(done, 1)


def load_host(path):
    """Return the class Host of a file that is run here."""
    space = {"__name__": "host", "__file__": path}
    with open(path) as file:
        exec(compile(file.read(), path, "exec"), space)
    return space["Host"]


def load(options):
    """Return the program that the command line asks for."""
    make = LOADERS[options.runtime][1]
    if not options.host:
        (artifact,) = options.artifact
        with open(artifact, "rb"):  # a missing file is told in the same words for every runtime
            pass
        return Program(make(artifact, options.threads))
    models = {}
    for entry in options.artifact:
        name, _, artifact = entry.partition("=")
        with open(artifact, "rb"):
            pass
        models[name] = make(artifact, options.threads)
    settings = {}
    if options.settings:
        with open(options.settings) as file:
            settings = json.load(file)
    return HostProgram(models, options.host, settings, options.per)


def measure(model, samples, warmup_s, min_runs, min_time_s, max_runs, max_time_s):
    """Return (warm-up runs, latencies in ms): single inferences over the varied samples, one after the other.

    With host code it is one answer after the other, its time divided by the units of work in it.

    It ends when there are enough runs and enough time has gone by, and in any case at ``max_runs`` or ``max_time_s``.
    """
    # The window holds one call of ``model.run``: handing over inputs that lie ready as the file stores them, the
    # inference, and the outputs as NumPy arrays, likewise as stored. Quantizing, dequantizing, keeping the outputs and
    # Python's garbage collection lie outside.
    clock = time.perf_counter_ns
    warmup_runs, started = 0, clock()
    while warmup_runs < 5 or clock() - started < warmup_s * 1e9:
        model.run(samples[warmup_runs % len(samples)])
        warmup_runs += 1
        if clock() - started > max_time_s * 1e9:
            break
    model.units()
    latencies = []
    gc.collect()
    gc.disable()
    try:
        started = clock()
        while not latencies or (
            len(latencies) < max_runs
            and clock() - started < max_time_s * 1e9
            and (len(latencies) < min_runs or clock() - started < min_time_s * 1e9)
        ):
            arrays = samples[len(latencies) % len(samples)]
            before = clock()
            model.run(arrays)
            taken = clock() - before
            latencies.append(taken / 1e6 / model.units())
    finally:
        gc.enable()
    return warmup_runs, latencies


def count(model, sample, times):
    """Run a sample ``times`` times, each between two marks; return how many units of work were done in each.

    The first two marks have nothing between them: what is counted there is what marking takes.
    """
    import ctypes

    mark = ctypes.CDLL(None).syscall
    for _ in range(COUNT_WARMUP_RUNS):
        model.run(sample)
    model.units()
    units = []
    gc.collect()
    gc.disable()
    try:
        mark(MARK, 0)
        mark(MARK, 1)
        for _ in range(times):
            mark(MARK, 0)
            model.run(sample)
            mark(MARK, 1)
            units.append(model.units())
    finally:
        gc.enable()
    return units


def save(path, arrays):
    """Write arrays by name as an .npz beside ``path`` and rename it into place.

    ``numpy.savez`` has no array named "file", and pickles what is no plain array.
    """
    temporary = path + ".partial"
    with zipfile.ZipFile(temporary, "w") as archive:
        for name, array in arrays.items():
            with archive.open(name + ".npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
    os.replace(temporary, path)


def run(options, answer):
    """Load, run and measure; put what is found into ``answer``, step by step."""
    with np.load(options.inputs, allow_pickle=False) as arrays:
        inputs = {name: arrays[name] for name in arrays.files}
    before = time.perf_counter()
    program = load(options)
    answer["load_ms"] = (time.perf_counter() - before) * 1e3
    describe_models(program, answer)

    samples = program.samples(inputs)
    before = time.perf_counter()
    first = copied(program.run(samples[0]))
    answer["first_ms"] = (time.perf_counter() - before) * 1e3 / program.units()
    outputs = program.collect([first] + [copied(program.run(sample)) for sample in samples[1:]])
    answer["non_finite"] = int(sum(np.count_nonzero(~np.isfinite(array)) for array in outputs.values()))
    if options.measure:
        answer["warmup_runs"], answer["samples_ms"] = measure(
            program,
            samples,
            options.warmup_s,
            options.min_runs,
            options.min_time_s,
            options.max_runs,
            options.max_time_s,
        )
    if options.count:
        answer["counted_units"] = count(program, samples[0], options.count)
    save(options.outputs, outputs)
    answer["peak_memory_bytes"] = peak_memory_bytes()
    answer["ok"] = True


def describe_models(program, answer):
    """Put the runtime's settings and the signatures into ``answer``: of the one model, or of each graph by name."""
    if isinstance(program, Program):
        answer["settings"] = getattr(program.model, "settings", {})
        answer["inputs"] = [tensor.plain() for tensor in program.model.inputs]
        answer["outputs"] = [tensor.plain() for tensor in program.model.outputs]
        return
    graphs = program.graphs.items()
    answer["settings"] = {name: getattr(graph.model, "settings", {}) for name, graph in graphs}
    answer["inputs"] = {name: [tensor.plain() for tensor in graph.model.inputs] for name, graph in graphs}
    answer["outputs"] = {name: [tensor.plain() for tensor in graph.model.outputs] for name, graph in graphs}


def copied(results):
    """Return a copy of one answer: runtimes hand out views of memory that they write again."""
    if isinstance(results, dict):
        return {name: np.array(array) for name, array in results.items()}
    return [np.array(array) for array in results]


def describe(options):
    """Return who answers: the runtime, Python, NumPy, the machine."""
    return {
        "schema": SCHEMA,
        "ok": False,
        "runtime": options.runtime,
        "runtime_version": None,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "threads": options.threads,
    }


def version_of(name):
    """Return the version that an imported module's package gives itself, or None."""
    version = getattr(sys.modules.get(name.split(".")[0]), "__version__", None)
    return None if version is None else str(version)


def peak_memory_bytes():
    """Return the largest resident set of this process in bytes; None where the system does not tell.

    Linux' ru_maxrss is not asked: a child inherits its parent's.
    """
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
    except (OSError, StopIteration, ValueError):
        return None


def die_with_parent():
    """Ask Linux to end this process when the one that started it ends."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
    except (ImportError, OSError, AttributeError):
        pass


def parse(arguments):
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description="Run an artifact on inputs and measure it.")
    parser.add_argument("--runtime", required=True, choices=sorted(LOADERS))
    parser.add_argument("--artifact", required=True, action="append", help="a file; GRAPH=FILE for each with --host")
    parser.add_argument("--host", help="a Python file with the class Host(graphs, settings)")
    parser.add_argument("--settings", help="a JSON file of settings for Host")
    parser.add_argument("--per", default="", help="the graph whose calls latency is counted by; the answer by default")
    parser.add_argument("--inputs", required=True, help=".npz with an array [samples, ...] for each input")
    parser.add_argument("--outputs", required=True, help=".npz to write")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--warmup-s", type=float, default=0.2)
    parser.add_argument("--min-runs", type=int, default=200)
    parser.add_argument("--min-time-s", type=float, default=0.5)
    parser.add_argument("--max-runs", type=int, default=5000)
    parser.add_argument("--max-time-s", type=float, default=30.0, help="stop then, however few runs there are")
    parser.add_argument("--count", type=int, default=0, help="mark so many runs for an emulator that counts")
    options = parser.parse_args(arguments)
    if not options.host and len(options.artifact) > 1:
        parser.error("several artifacts need --host")
    if options.host and not all("=" in entry for entry in options.artifact):
        parser.error("with --host each artifact is GRAPH=FILE")
    return options


def main(arguments=None):
    """Answer on stdout; return the exit status."""
    options = parse(arguments)
    die_with_parent()
    # Runtimes write to stdout too: it is theirs, and the answer goes to a copy of it.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    answer, status = describe(options), 0
    try:
        status = 3
        importlib.import_module(LOADERS[options.runtime][0])
        answer["runtime_version"] = version_of(LOADERS[options.runtime][0])
        status = 1
        run(options, answer)
        status = 0
    except Exception as error:  # whatever a runtime raises is an answer
        answer.update(ok=False, error=type(error).__name__, message=str(error))
    json.dump(answer, answers)
    answers.write("\n")
    answers.close()
    return status


if __name__ == "__main__":
    sys.exit(main())
