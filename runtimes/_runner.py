"""The runner: one file that loads an artifact, runs inputs through it, measures, and answers in JSON.

It needs the standard library, NumPy and one runtime, on Python 3.7 or later, and is copied to devices as it is:

    python3 _runner.py --runtime litert --artifact model.tflite --inputs in.npz --outputs out.npz --measure

The inputs hold an array [samples, ...] for each input of the model, by name; the model runs one sample at a time. Float
inputs of a quantized model are quantized here, and its outputs dequantized. One JSON document is printed to stdout.
Where an input is a scalar, or its first size is fixed at another than one, a sample is all that one call takes.

With --count N the first sample is run N more times between marks that an emulator counts instructions by.

With --host FILE the answer to a sample is made by the class Host in that file, which calls one or more graphs: then
each --artifact is GRAPH=FILE, and the inputs are what Host.run takes.
Exit status: 0 done, 1 the artifact or the inputs failed, 2 usage, 3 the runtime is not installed, or this machine lacks
what was asked of it.
"""

import argparse
import gc
import glob
import importlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zipfile

# In its folder lie adapters named onnxruntime and openvino, which would hide the packages of those names.
_HERE = os.path.dirname(os.path.realpath(__file__))
if __name__ == "__main__":
    sys.path[:] = [path for path in sys.path if os.path.realpath(path or os.curdir) != _HERE]
    if not {"--measure", "--profile"} & set(sys.argv):
        # OpenBLAS begins a thread for each core, and each waits actively: as much work again as importing NumPy is.
        # Where host code is timed it has what it has when it is served.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

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


class SettingsError(Exception):
    """What was asked of a runtime is not there: a delegate, an execution provider, a device."""


class UsageError(Exception):
    """What was asked for does not exist: a core, or a name that the runtime does not know on any machine."""


class Settings(object):
    """How a runtime runs a file.

    threads; of TFLite, delegates (each PATH or PATH,KEY=VALUE,...) and whether XNNPACK is used; of ONNX Runtime, the
    execution providers in order of preference; of OpenVINO, the unit (CPU, GPU, NPU) and the inference precision.
    profiling is the folder that the runtime's profiler may write to; empty where it is off. parts are by artifact the
    folder with a file for each of its operations.
    """

    profiling = ""
    parts = ()

    def __init__(self, threads=1, delegates=(), xnnpack=True, providers=(), unit="", precision=""):
        self.threads = threads
        self.delegates = delegates
        self.xnnpack = xnnpack
        self.providers = providers
        self.unit = unit
        self.precision = precision


_DELEGATE = "DELEGATE"


def _taken_by(delegate, makers):
    """Return the operations that a delegate took over: between its inputs and its outputs, listed still."""
    taken, open_, seen = set(), list(delegate["outputs"]), set(delegate["inputs"])
    while open_:
        tensor = int(open_.pop())
        if tensor not in seen and tensor in makers:
            seen.add(tensor)
            taken.add(int(makers[tensor]["index"]))
            open_.extend(makers[tensor]["inputs"])
    return taken


class TFLite(object):
    """A TFLite interpreter: LiteRT's or tflite-runtime's, which have one interface."""

    def __init__(self, module, artifact, settings):
        options = {"model_path": artifact, "num_threads": settings.threads}
        if not settings.xnnpack:
            options["experimental_op_resolver_type"] = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        if settings.delegates:
            options["experimental_delegates"] = [_delegate(module, text) for text in settings.delegates]
        self.settings = {"xnnpack": settings.xnnpack, "delegates": list(settings.delegates)}
        self.interpreter = module.Interpreter(**options)
        self.interpreter.allocate_tensors()
        self.inputs, self.outputs = self._signature()

    def ran(self):
        """Return how many operations delegates took over, and how many of each kind the interpreter runs itself."""
        try:
            nodes = self.interpreter._get_ops_details()
        except (AttributeError, RuntimeError, ValueError):  # no public interface tells
            return None
        own = [node for node in nodes if node["op_name"] != _DELEGATE]
        makers = {int(tensor): node for node in own for tensor in node["outputs"]}
        taken = set()
        for delegate in (node for node in nodes if node["op_name"] == _DELEGATE):
            taken |= _taken_by(delegate, makers)
        rest = [node["op_name"] for node in own if node["index"] not in taken]
        return {"delegated": len(taken), "interpreted": {name: rest.count(name) for name in sorted(set(rest))}}

    def _signature(self):
        self.signature, inputs, outputs = tflite_signature(self.interpreter)
        return [[_tflite_tensor(name, details[name]) for name in sorted(details)] for details in (inputs, outputs)]

    def run(self, arrays):
        """Run one sample: what is timed is setting the inputs, the inference, and reading the outputs."""
        interpreter = self.interpreter
        for tensor, array in zip(self.inputs, arrays):
            interpreter.set_tensor(tensor.key, array)
        interpreter.invoke()
        return [interpreter.get_tensor(tensor.key) for tensor in self.outputs]


def tflite_signature(interpreter):
    """Return (name, inputs, outputs) of the signature of the first subgraph, which is what an inference runs.

    Inputs and outputs are details by name. Where no signature names that subgraph, its tensors' own names count.
    """
    sides = interpreter.get_input_details(), interpreter.get_output_details()
    first = [{(detail["index"], detail["name"]) for detail in details} for details in sides]
    names = sorted(interpreter.get_signature_list(), key=lambda name: (name != "serving_default", name))
    for name in names:
        runner = interpreter.get_signature_runner(name)
        found = runner.get_input_details(), runner.get_output_details()
        if all({(each["index"], each["name"]) for each in side.values()} <= own for side, own in zip(found, first)):
            return (name,) + found
    return ("",) + tuple(dict(zip(bare_names([each["name"] for each in side]), side)) for side in sides)


class OnnxRuntime(object):
    """ONNX Runtime's session, on the CPU unless other execution providers are asked for."""

    # What an execution provider may be called, after the package's own name for it.
    SHORT = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}

    def __init__(self, module, artifact, settings):
        options = module.SessionOptions()
        options.intra_op_num_threads = settings.threads
        options.inter_op_num_threads = 1
        asked = [self.SHORT.get(name.lower(), name) for name in settings.providers] or [self.SHORT["cpu"]]
        unknown = sorted(set(asked) - set(module.get_all_providers()))
        if unknown:
            text = "expected execution providers that ONNX Runtime knows ({}; get_all_providers() tells all), got {}"
            raise UsageError(text.format(", ".join(sorted(self.SHORT)), ", ".join(unknown)))
        missing = sorted(set(asked) - set(module.get_available_providers()))
        if missing:
            text = "expected execution providers that this ONNX Runtime has ({}), got {}"
            raise SettingsError(text.format(", ".join(module.get_available_providers()), ", ".join(missing)))
        if settings.profiling:
            options.enable_profiling = True
            options.profile_file_prefix = os.path.join(settings.profiling, "trace")
        self.settings = {"providers": asked}
        self.session = module.InferenceSession(artifact, options, providers=asked)
        # A provider whose libraries do not load is dropped with a warning, and the CPU takes over.
        dropped = [name for name in asked if name not in self.session.get_providers()]
        if dropped:
            text = "expected a session on {}, got one on {}: its libraries did not load"
            raise SettingsError(text.format(", ".join(dropped), ", ".join(self.session.get_providers())))
        self.inputs = [_onnx_tensor(value) for value in self.session.get_inputs()]
        self.outputs = [_onnx_tensor(value) for value in self.session.get_outputs()]
        self.names = [tensor.name for tensor in self.outputs]

    def run(self, arrays):
        """Run one sample: what is timed is the session's call, which takes and returns NumPy arrays."""
        return self.session.run(self.names, {tensor.name: array for tensor, array in zip(self.inputs, arrays)})

    def ran(self):
        """Return the execution providers of the session; the CPU is the last resort of each."""
        return {"providers": self.session.get_providers()}


class OnnxReference(object):
    """ONNX's reference evaluator: the definition of each operation in NumPy; a referee, not a runtime."""

    # It has no implementation of QuantizeLinear and DequantizeLinear below this opset.
    OPSET = 19

    def __init__(self, module, artifact, settings):
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
        sizes = [size.dim_value if size.HasField("dim_value") else 1 for size in kind.shape.dim]
        return Tensor(value.name, sizes, dtype)

    def run(self, arrays):
        """Run one sample."""
        return self.evaluator.run(None, {tensor.name: array for tensor, array in zip(self.inputs, arrays)})


class OpenVino(object):
    """OpenVINO on the CPU, computing in float32 where the model does (bfloat16 is its default where the CPU has it)."""

    UNITS = ("CPU", "GPU", "NPU")

    def __init__(self, module, artifact, settings):
        unit = settings.unit or "CPU"
        core = module.Core()
        if unit.split(".")[0] not in {name.split(".")[0] for name in core.available_devices}:
            if unit.split(".")[0] not in self.UNITS:
                raise UsageError("expected one of OpenVINO's units ({}), got {}".format(", ".join(self.UNITS), unit))
            text = "expected a device that OpenVINO finds here ({}), got {}"
            raise SettingsError(text.format(", ".join(core.available_devices), unit))
        options = {"INFERENCE_PRECISION_HINT": settings.precision or "f32", "PERFORMANCE_HINT": "LATENCY"}
        if unit == "CPU":
            options["INFERENCE_NUM_THREADS"] = settings.threads
        if unit == "CPU" and settings.threads == 1 and platform.machine() == "x86_64":
            # On one thread of a CPU with AMX, 2026.4.1 fuses int8 dense layers into one kernel that computes nonsense
            # (right on two threads, with oneDNN held below AMX, and with this setting).
            options["SNIPPETS_MODE"] = "DISABLE"
        if settings.profiling:
            options["PERF_COUNT"] = True
        self.settings = dict(options, unit=unit)
        model = core.compile_model(artifact, unit, options)
        if any(port.get_element_type().get_type_name() == "bf16" for port in model.inputs + model.outputs):
            model = core.compile_model(_without_bfloat16(core.read_model(artifact)), unit, options)
        self.compiled = model
        self.request = model.create_infer_request()
        self.inputs, self.outputs = self._tensors(model.inputs), self._tensors(model.outputs)
        buffers = [self.request.get_input_tensor(place) for place in range(len(self.inputs))]
        for buffer, tensor in zip(buffers, self.inputs):
            buffer.shape = tensor.shape  # of open sizes it has none yet
        self.buffers = [buffer.data for buffer in buffers]
        self.places = range(len(self.outputs))

    @staticmethod
    def _tensors(ports):
        names = bare_names([port.get_any_name() for port in ports])
        return [
            Tensor(name, _open_at_1(port.partial_shape), port.element_type.to_dtype(), key=place)
            for place, (name, port) in enumerate(zip(names, ports))
        ]

    def run(self, arrays):
        """Run one sample: what is timed is the copy into the request's own inputs, the inference, and its outputs.

        Handed over as arguments, inputs take 25 microseconds more of Python.
        """
        for buffer, array in zip(self.buffers, arrays):
            np.copyto(buffer, array)
        self.request.infer(share_outputs=True)
        return [self.request.get_output_tensor(place).data for place in self.places]

    def ran(self):
        """Return the devices that the model was compiled for, and the precision there."""
        found = {}
        for name in ("EXECUTION_DEVICES", "INFERENCE_PRECISION_HINT", "INFERENCE_NUM_THREADS", "NUM_STREAMS"):
            try:
                value = self.compiled.get_property(name)
            except RuntimeError:  # a device without that property
                continue
            found[name] = [str(each) for each in value] if isinstance(value, (list, tuple)) else str(value)
        return found


def _open_at_1(shape):
    """Return the sizes of an OpenVINO shape, of one that is open 1, or the least that it may be."""
    if shape.rank.is_dynamic:
        return ()
    return [max(size.get_min_length(), 1) if size.is_dynamic else size.get_length() for size in shape]


def _without_bfloat16(model):
    """Return an OpenVINO model with float32 inputs and outputs for bfloat16 ones, of which NumPy would read float16."""
    preprocess = importlib.import_module("openvino.preprocess")
    steps, kind = preprocess.PrePostProcessor(model), importlib.import_module("openvino").Type.f32
    for place, port in enumerate(model.inputs):
        if port.get_element_type().get_type_name() == "bf16":
            steps.input(place).tensor().set_element_type(kind)
    for place, port in enumerate(model.outputs):
        if port.get_element_type().get_type_name() == "bf16":
            steps.output(place).tensor().set_element_type(kind)
    return steps.build()


def _bare(name):
    """Return a tensor's name without what converters put around it."""
    if name.startswith("serving_default_"):
        name = name[len("serving_default_") :]
    return name.split(":")[0]


def bare_names(names):
    """Return tensors' bare names, or their own where several would be called the same, as the places of a split are."""
    bare = [_bare(name) for name in names]
    return bare if len(set(bare)) == len(bare) else list(names)


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
    kind = value.type[len("tensor(") : -1] if value.type.startswith("tensor(") else "string"
    if kind == "string":
        raise InputsError("expected tensors of numbers in and out, got {} of {}".format(value.name, value.type))
    return Tensor(value.name, [size if isinstance(size, int) else 1 for size in value.shape], kinds.get(kind, kind))


def _delegate(module, text):
    """Return the delegate of a shared library: PATH or PATH,KEY=VALUE,..."""
    path, *entries = text.split(",")
    if not all("=" in entry for entry in entries):
        raise UsageError("expected a TFLite delegate as PATH or PATH,KEY=VALUE,..., got {}".format(text))
    try:
        return module.load_delegate(path, dict(entry.split("=", 1) for entry in entries))
    except (OSError, ValueError) as error:
        text = "expected a TFLite delegate, a shared library such as libedgetpu.so.1, got {}: {}"
        raise SettingsError(text.format(path, error)) from None


def _loader(kind, module, **fixed):
    def load(artifact, settings=None):
        settings = settings or Settings()
        vars(settings).update(fixed)
        return kind(importlib.import_module(module), artifact, settings)

    return load


# By the runtime's name: the module whose absence means "not installed", and the loader; then the options that it heeds.
_LITERT, _TFLITE_RUNTIME = "ai_edge_litert.interpreter", "tflite_runtime.interpreter"
LOADERS = {
    "litert": (_LITERT, _loader(TFLite, _LITERT)),
    "tflite_runtime": (_TFLITE_RUNTIME, _loader(TFLite, _TFLITE_RUNTIME)),
    "litert_kernels": (_LITERT, _loader(TFLite, _LITERT, xnnpack=False)),
    "onnxruntime": ("onnxruntime", _loader(OnnxRuntime, "onnxruntime")),
    "onnx_reference": ("onnx.reference", _loader(OnnxReference, "onnx.reference")),
    "openvino": ("openvino", _loader(OpenVino, "openvino")),
}
HEEDED = {
    "litert": ("delegate", "no_xnnpack"),
    "tflite_runtime": ("delegate", "no_xnnpack"),
    "onnxruntime": ("provider",),
    "openvino": ("unit", "precision"),
}


class InputsError(Exception):
    """The inputs do not fit the model."""


def prepare(arrays, tensors, stored=None):
    """Return the samples as the model takes them: for each sample a list of arrays in the tensors' order.

    A sample is one row of a batch, arrays [1, ...]; of a model that takes no batch of one (``whole``), all that one
    call takes. ``stored`` maps (array, tensor) to the array as the file stores it; ``as_stored`` where None.
    """
    expected = {tensor.name: tensor.shape for tensor in tensors}
    if not expected:
        raise InputsError("expected a model that takes inputs, got one that takes none")
    if set(expected) != set(arrays):
        # Whoever reads the file may call an input by its whole name.
        arrays = dict(zip(bare_names(arrays), arrays.values()))
    received = {name: array.shape for name, array in arrays.items()}
    if set(expected) != set(received):
        raise InputsError("expected inputs {}, got {}".format(sorted(expected), sorted(received)))
    as_whole = whole(tensors)
    for name, shape in expected.items():
        sizes = shape if as_whole else shape[1:]
        if not received[name] or received[name][1:] != sizes:
            samples = ", ".join(["samples"] + [str(size) for size in sizes])
            raise InputsError("expected {} as [{}], got {}".format(name, samples, list(received[name])))
    counts = {shape[0] for shape in received.values()}
    if len(counts) != 1 or 0 in counts:
        raise InputsError("expected as many samples, at least one, in each input, got {}".format(received))
    arrays = [(stored or as_stored)(arrays[tensor.name], tensor) for tensor in tensors]
    places = [place if as_whole else slice(place, place + 1) for place in range(counts.pop())]
    return [[np.asarray(array[place]) for array in arrays] for place in places]


def whole(tensors):
    """Tell whether a model takes no batch of one: an input is a scalar, or its first size is fixed at another one."""
    return any(not tensor.shape or tensor.shape[0] != 1 for tensor in tensors)


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


def collect(results, tensors, as_whole=False):
    """Return the outputs of all samples, [samples, ...] float where the model stores integers, by name.

    An output whose size differs from sample to sample is all numbers in a row. ``as_whole``: see ``whole``.
    """
    outputs = {}
    for place, tensor in enumerate(tensors):
        arrays = [np.asarray(result[place]) for result in results]
        # A size that the file leaves open counts as one: then an array stays as the runtime gave it.
        if all(array.size == np.prod(tensor.shape, dtype=int) for array in arrays):
            arrays = [np.reshape(array, tensor.shape) for array in arrays]
        if len({array.shape for array in arrays}) > 1:
            array = np.concatenate([np.ravel(array) for array in arrays])
        else:
            array = (np.stack if as_whole or not arrays[0].ndim else np.concatenate)(arrays)
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
        return collect(answers, self.model.outputs, whole(self.model.inputs))

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
        outputs = {}
        for tensor, array in zip(self.model.outputs, self.model.run(self.sample(inputs))):
            if tensor.scale:
                array = dequantize(array, tensor.scale, tensor.zero_point)
            elif not array.flags.owndata:
                array = array.copy()  # a view of the runtime's memory, where it may write again
            outputs[tensor.name] = array if array.shape == tensor.shape else array.reshape(tensor.shape)
        return outputs

    def sample(self, inputs):
        """Return the arrays as the model takes them, by the shortest way: a recurrent step takes microseconds."""
        tensors = self.model.inputs
        arrays = []
        for tensor in tensors:
            array = inputs.get(tensor.name)
            if array is None or array.shape != tensor.shape:
                break
            if tensor.scale or array.dtype is not tensor.dtype or not array.flags.c_contiguous:
                array = self.stored(array, tensor)
            arrays.append(array)
        if not len(arrays) == len(tensors) == len(inputs):
            (arrays,) = prepare(inputs, tensors, self.stored)  # which says what does not fit
        return arrays

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


def settings_of(options):
    """Return what the command line says of how the runtime runs."""
    return Settings(
        options.threads, options.delegate, not options.no_xnnpack, options.provider, options.unit, options.precision
    )


def load(options, make=None, profiling=""):
    """Return the program that the command line asks for; ``make`` loads a model otherwise than its runtime does."""
    make = make or LOADERS[options.runtime][1]
    how = settings_of(options)
    how.profiling = profiling
    how.parts = dict(zip([entry.partition("=")[2] or entry for entry in options.artifact], options.parts))
    if not options.host:
        (artifact,) = options.artifact
        with open(artifact, "rb"):  # a missing file is told in the same words for every runtime
            pass
        return Program(make(artifact, how))
    models = {}
    for entry in options.artifact:
        name, _, artifact = entry.partition("=")
        with open(artifact, "rb"):
            pass
        models[name] = make(artifact, how)
    settings = {}
    if options.settings:
        with open(options.settings) as file:
            settings = json.load(file)
    return HostProgram(models, options.host, settings, options.per)


# Warm-up goes on until the medians of two windows in a row, of up to so many runs, are this close, or for so many times
# its shortest length.
_WINDOW, _STABLE, _PATIENCE = 10, 0.03, 5
# Of the timed runs the first few, then every so many (a prime, so that each sample has its turn), leave their answer.
_KEPT_FIRST, _KEPT_EACH, _KEPT_MOST = 16, 61, 64


def warm_up(model, samples, least_s, max_s):
    """Return (runs, whether they were stable): single inferences until their latency no longer moves."""
    clock = time.perf_counter_ns
    started, runs, taken = clock(), 0, []
    while True:
        before = clock()
        model.run(samples[runs % len(samples)])
        after = clock()
        runs += 1
        taken.append((after - before) / model.units())
        spent_s = (after - started) / 1e9
        if runs >= 6 and spent_s >= least_s:
            window = min(_WINDOW, runs // 2)
            medians = [np.median(taken[-window:]), np.median(taken[-2 * window : -window])]
            if abs(medians[0] - medians[1]) <= _STABLE * max(medians):
                return runs, True
            if spent_s >= _PATIENCE * least_s:
                return runs, False
        if spent_s > max_s:
            return runs, False


def measure(model, samples, min_runs, min_time_s, max_runs, max_time_s):
    """Return (latencies in ms, answers by run): single inferences over the varied samples, one after the other.

    With host code it is one answer after the other, its time divided by the units of work in it.

    It ends when there are enough runs and enough time has gone by, and in any case at ``max_runs`` or ``max_time_s``.
    """
    # The window holds one call of ``model.run``: handing over inputs that lie ready as the file stores them, the
    # inference, and the outputs as NumPy arrays, likewise as stored. Quantizing, dequantizing, keeping the outputs and
    # Python's garbage collection lie outside.
    clock = time.perf_counter_ns
    model.units()
    latencies, kept = [], {}
    gc.collect()
    gc.disable()
    try:
        started = clock()
        while not latencies or (
            len(latencies) < max_runs
            and clock() - started < max_time_s * 1e9
            and (len(latencies) < min_runs or clock() - started < min_time_s * 1e9)
        ):
            place = len(latencies)
            arrays = samples[place % len(samples)]
            before = clock()
            answer = model.run(arrays)
            taken = clock() - before
            latencies.append(taken / 1e6 / model.units())
            if (place < _KEPT_FIRST or place % _KEPT_EACH == 0) and len(kept) < _KEPT_MOST:
                kept[place] = copied(answer)
    finally:
        gc.enable()
    return latencies, kept


def difference_at_speed(kept, answers):
    """Return how the answers of timed runs differ from those of the accuracy run (MLPerf's TEST01).

    ``kept`` holds answers by run, ``answers`` one for each sample; both as ``model.run`` gives them.
    """
    found = {"compared": len(kept), "max_difference": 0.0, "largest": 0.0}
    for place, answer in kept.items():
        expected = answers[place % len(answers)]
        names = sorted(answer) if isinstance(answer, dict) else range(len(answer))
        for name in names:
            right, timed = np.asarray(expected[name], np.float64), np.asarray(answer[name], np.float64)
            off = np.where((right == timed) | (np.isnan(right) & np.isnan(timed)), 0.0, np.abs(right - timed))
            found["max_difference"] = max(found["max_difference"], float(np.max(off, initial=0.0)))
            found["largest"] = max(found["largest"], float(np.max(np.abs(np.nan_to_num(right)), initial=0.0)))
    return found


def repeated(model, samples, repeats, max_time_s):
    """Return (latencies in ms of one sample again and again, and of the same sample with others in between).

    A runtime or host that keeps answers makes the first smaller (MLPerf's TEST04).
    """
    clock = time.perf_counter_ns
    taken = [[], []]
    for among_others, latencies in enumerate(taken):
        model.run(samples[0])
        model.units()
        started = clock()
        while len(latencies) < repeats and clock() - started < max_time_s / 2 * 1e9:
            if among_others:
                model.run(samples[1 + len(latencies) % (len(samples) - 1)])
                model.units()
            before = clock()
            model.run(samples[0])
            after = clock()
            latencies.append((after - before) / 1e6 / model.units())
    return taken


# Profiling: where the time of one inference goes, by each runtime's own profiler. A profiled model is a second one of
# the same file: the runtimes switch their profilers on as they load. ``begin()`` comes after the warm-up, ``pause()``
# after some inferences, ``operations()`` at the end. An operation is (name, kind, unit, place in the file or None); its
# time is told in milliseconds, and how often it runs.


class NoProfiler(Exception):
    """A runtime without a profiler that can be reached."""


class LiteRtProfiled(object):
    """LiteRT's compiled model, by its C interface: the interpreter that Python has hands no profiler out.

    The names and structures are those of litert/c in LiteRT's own repository, as ai-edge-litert 2.3 has them.
    """

    HOW = "LiteRT's profiler, with XNNPACK's own time for each of its operators, in whole microseconds, rounded down"
    # Kinds of events (litert/c/litert_profiler_event.h): the interpreter's own operation, and two of a delegate.
    INTERPRETED, DELEGATED = 2, (4, 8)

    def __init__(self, module, artifact, settings):
        if settings.delegates:
            raise UsageError("expected no delegate with --profile, got {}".format(", ".join(settings.delegates)))
        plain = TFLite(module, artifact, settings)
        self.inputs, self.outputs = plain.inputs, plain.outputs
        self.partitions = _partitions(plain.interpreter)
        self.interface = _LiteRt(os.path.join(os.path.dirname(module.__file__), "libLiteRt.so"))
        kernels = "" if settings.xnnpack else 'kernel_mode = "builtin"\n'
        self.interface.load(artifact, "num_threads = {}\n{}".format(settings.threads, kernels), plain.signature)
        self.places = [
            [self.interface.names[side].index(tensor.name) for tensor in tensors]
            for side, tensors in (("Input", self.inputs), ("Output", self.outputs))
        ]

    def run(self, arrays):
        """Run one sample."""
        for place, array in zip(self.places[0], arrays):
            self.interface.write(place, array)
        self.interface.run()
        return [self.interface.read(place, tensor) for place, tensor in zip(self.places[1], self.outputs)]

    def begin(self):
        """Forget what was recorded."""
        self.interface.call("LiteRtStartProfiler", self.interface.profiler)

    def operations(self):
        """Return the operations and their mean milliseconds."""
        runs, part, before = [], -1, -1
        for tag, kind, microseconds, place, subgraph in self.interface.events():
            if subgraph:
                continue  # the body of a loop or branch, whose time is in its own
            if kind == 1 and tag == "Invoke":
                runs.append([])
                part, before = -1, -1
            elif runs and kind == self.INTERPRETED:
                runs[-1].append((("", tag, "interpreter", place), microseconds / 1e3))
                before = -1
            elif runs and kind in self.DELEGATED:
                part += place <= before or before < 0
                before = place
                runs[-1].append((("{}.{}".format(part, place), tag, "XNNPACK", None), microseconds / 1e3))
        return _means(runs)


class _LiteRt(object):
    """LiteRT's C interface: one file, its first signature, its profiler."""

    def __init__(self, path):
        import ctypes

        self.c = ctypes
        try:
            self.library = ctypes.CDLL(path)
            self.library.LiteRtGetProfilerEvents  # noqa: B018
        except (OSError, AttributeError) as error:
            text = "expected LiteRT with a profiler, as ai-edge-litert has it from 2.3, got {}"
            raise NoProfiler(text.format(error)) from None
        pointer, byte, size = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_size_t
        layout = [("rank", ctypes.c_uint), ("sizes", ctypes.c_int32 * 8), ("strides", ctypes.c_uint32 * 8)]
        self.TensorType = type("TensorType", (ctypes.Structure,), {"_fields_": [("dtype", ctypes.c_int)] + layout})
        fields = [("tag", ctypes.c_char_p), ("kind", ctypes.c_int), ("start_us", byte), ("elapsed_us", byte)]
        fields += [("memory", size * 6), ("place", byte), ("subgraph", byte), ("source", ctypes.c_int)]
        self.Event = type("Event", (ctypes.Structure,), {"_fields_": fields})
        for name in ("environment", "model", "options", "compiled", "profiler", "signature"):
            setattr(self, name, pointer())
        self.names, self.buffers = {}, {}

    def call(self, name, *arguments):
        """Call a function of the library; all return 0 or an error's number."""
        status = getattr(self.library, name)(*arguments)
        if status:
            raise NoProfiler("{} of LiteRT ended with status {}".format(name, status))

    def load(self, artifact, settings, signature):
        """Load a file with the profiler on, and make the buffers of a signature, or of a file without one."""
        c, by = self.c, self.c.byref
        self.call("LiteRtCreateEnvironment", 0, None, by(self.environment))
        self.call("LiteRtCreateModelFromFile", self.environment, artifact.encode(), by(self.model))
        self.call("LiteRtCreateOptions", by(self.options))
        self.call("LiteRtSetOptionsHardwareAccelerators", self.options, 1)  # the CPU
        self._set(b"runtime_options_string", b"enable_profiling = true\n")
        self._set(b"xnnpack", settings.encode())
        self.call("LiteRtCreateCompiledModel", self.environment, self.model, self.options, by(self.compiled))
        self.call("LiteRtCompiledModelGetProfiler", self.compiled, by(self.profiler))
        if not self.profiler:
            raise NoProfiler("expected a profiler of LiteRT's compiled model, got none")
        self.place = c.c_size_t(self._signature(signature.encode()))
        self.call("LiteRtGetModelSignature", self.model, self.place, by(self.signature))
        for side in ("Input", "Output"):
            count = c.c_size_t()
            self.call("LiteRtGetNumSignature{}s".format(side), self.signature, by(count))
            made = [self._buffer(side, c.c_size_t(place)) for place in range(count.value)]
            names = [name for name, _, _ in made]
            self.names[side] = names if signature else bare_names(names)
            self.buffers[side] = [(buffer, size) for _, buffer, size in made]
        self.arrays = {side: (c.c_void_p * len(all_))(*[b for b, _ in all_]) for side, all_ in self.buffers.items()}

    def _set(self, owner, text):
        """Hand over settings as TOML; the library frees the copy."""
        c, option = self.c, self.c.c_void_p()
        libc = c.CDLL(None)
        libc.strdup.restype = c.c_void_p
        copy, free = c.c_void_p(libc.strdup(text)), c.cast(libc.free, c.c_void_p)
        self.call("LiteRtCreateOpaqueOptions", owner, copy, free, c.byref(option))
        self.call("LiteRtAddOpaqueOptions", self.options, option)

    def _signature(self, name):
        """Return the place of a signature; a file without one has the library's own."""
        c, count = self.c, self.c.c_size_t()
        self.call("LiteRtGetNumModelSignatures", self.model, c.byref(count))
        keys = {}
        for place in range(count.value):
            signature, key = c.c_void_p(), c.c_char_p()
            self.call("LiteRtGetModelSignature", self.model, c.c_size_t(place), c.byref(signature))
            self.call("LiteRtGetSignatureKey", signature, c.byref(key))
            keys[key.value] = place
        return keys[name if name in keys else sorted(keys)[0]]

    def _buffer(self, side, place):
        """Return (name, buffer, bytes) of an input or output."""
        c, by = self.c, self.c.byref
        name, size, kind = c.c_char_p(), c.c_size_t(), self.TensorType()
        tensor, needed, buffer = c.c_void_p(), c.c_void_p(), c.c_void_p()
        self.call("LiteRtGetSignature{}Name".format(side), self.signature, place, by(name))
        self.call("LiteRtGetSignature{}TensorByIndex".format(side), self.signature, place, by(tensor))
        self.call("LiteRtGetRankedTensorType", tensor, by(kind))
        requirements = "LiteRtGetCompiledModel{}BufferRequirements".format(side)
        self.call(requirements, self.compiled, self.place, place, by(needed))
        make = "LiteRtCreateManagedTensorBufferFromRequirements"
        self.call(make, self.environment, by(kind), needed, by(buffer))
        self.call("LiteRtGetTensorBufferPackedSize", buffer, by(size))
        return name.value.decode(), buffer, size.value

    def write(self, place, array):
        """Copy an array into an input's buffer."""
        buffer, size = self.buffers["Input"][place]
        if size != array.nbytes:
            raise RuntimeError("expected an input of {} bytes, got {}".format(size, array.nbytes))
        address = self.c.c_void_p()
        self.call("LiteRtLockTensorBuffer", buffer, self.c.byref(address), 1)
        self.c.memmove(address, array.ctypes.data, size)
        self.call("LiteRtUnlockTensorBuffer", buffer)

    def read(self, place, tensor):
        """Return an output's array."""
        buffer, size = self.buffers["Output"][place]
        array = np.empty(tensor.shape, tensor.dtype)
        if size != array.nbytes:
            raise RuntimeError("expected an output of {} bytes, got {}".format(array.nbytes, size))
        address = self.c.c_void_p()
        self.call("LiteRtLockTensorBuffer", buffer, self.c.byref(address), 0)
        self.c.memmove(array.ctypes.data, address, size)
        self.call("LiteRtUnlockTensorBuffer", buffer)
        return array

    def run(self):
        """Run the signature."""
        counts = {side: self.c.c_size_t(len(all_)) for side, all_ in self.buffers.items()}
        ends = (counts["Input"], self.arrays["Input"], counts["Output"], self.arrays["Output"])
        self.call("LiteRtRunCompiledModel", self.compiled, self.place, *ends)

    def events(self):
        """Stop recording; return each event as (tag, kind, microseconds, place, subgraph), in the order they began."""
        self.call("LiteRtStopProfiler", self.profiler)
        count = self.c.c_int()
        self.call("LiteRtGetNumProfilerEvents", self.profiler, self.c.byref(count))
        # Room for as many of twice the size: where the library's events are laid out otherwise, it is seen below.
        events = (self.Event * (2 * count.value + 1))()
        if count.value:
            self.call("LiteRtGetProfilerEvents", self.profiler, count, events)
        found = events[: count.value]
        if any(event.kind not in [1 << bit for bit in range(9)] for event in found):
            raise NoProfiler("expected events laid out as in ai-edge-litert 2.3, got others")
        return [
            ((event.tag or b"").decode("utf-8", "replace"), event.kind, event.elapsed_us, event.place, event.subgraph)
            for event in found
        ]


def _partitions(interpreter):
    """Return the operations that each delegate took over, in the order in which the delegates run."""
    try:
        nodes = interpreter._get_ops_details()
    except (AttributeError, RuntimeError, ValueError):  # no public interface tells
        return []
    makers = {int(t): node for node in nodes if node["op_name"] != _DELEGATE for t in node["outputs"]}
    return [sorted(_taken_by(node, makers)) for node in nodes if node["op_name"] == _DELEGATE]


class OnnxRuntimeProfiled(OnnxRuntime):
    """ONNX Runtime with its trace on: a JSON file that names each node that ran, its provider and its time."""

    HOW = "ONNX Runtime's trace, in whole microseconds, rounded down"
    partitions = ()
    skipped = 0
    calls = 0

    def run(self, arrays):
        """Run one sample."""
        self.calls += 1
        return OnnxRuntime.run(self, arrays)

    def begin(self):
        """Leave out the calls so far."""
        self.skipped = self.calls

    def operations(self):
        """Return the operations and their mean milliseconds; the session is over then."""
        path = self.session.end_profiling()
        with open(path) as file:
            events = json.load(file)
        os.remove(path)
        runs, run = [], []
        for event in events:
            if event.get("name") == "model_run":
                runs.append(run)
                run = []
            elif event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                run.append(event)
        return _means([self._outermost(run) for run in runs[self.skipped :]])

    @staticmethod
    def _outermost(run):
        """Return the operations of a run without those in the body of a loop or branch, whose time is in its own."""
        found, until = [], -1
        for event in sorted(run, key=lambda event: (event["ts"], -event["dur"])):
            if event["ts"] + event["dur"] <= until:
                continue
            facts = event["args"]
            kind = facts.get("op_name", "")
            if kind in ("Loop", "If", "Scan"):
                until = event["ts"] + event["dur"]
            name = event["name"][: -len("_kernel_time")]
            found.append(((name, kind, facts.get("provider", ""), int(facts["node_index"])), event["dur"] / 1e3))
        return found


class OpenVinoProfiled(OpenVino):
    """OpenVINO with its performance counts on: each node's mean over all inferences since the model was compiled.

    The first inferences, which compile kernels, are subtracted. The model is compiled again at each pause, and the
    lower quartile of the means counts: otherwise one inference that the system interrupts would be in all of them.
    """

    HOW = "OpenVINO's performance counts, in whole microseconds, rounded down"
    WARM_UP = 3
    partitions = ()

    def __init__(self, module, artifact, settings):
        self.again = (module, artifact, settings)
        OpenVino.__init__(self, *self.again)
        self.calls, self.before, self.nodes, self.means, self.origins = 0, [], [], [], {}

    def run(self, arrays):
        """Run one sample."""
        results = OpenVino.run(self, arrays)
        self.calls += 1
        if self.calls == self.WARM_UP:
            results = copied(results)
            self.before = self._totals()
        return results

    def begin(self):
        """There is nothing to forget: a pause begins anew."""

    def _totals(self):
        """Return each node, whether it ran, and its milliseconds so far: its mean times the calls."""
        return [
            (
                (info.node_name, info.node_type, info.exec_type, None),
                # What was left out or fused is listed too, as "not run".
                str(info.status).endswith("EXECUTED"),
                info.real_time.total_seconds() * 1e3 * self.calls,
            )
            for info in self.request.get_profiling_info()
        ]

    def pause(self):
        """Keep the means so far, and begin anew."""
        calls = self.calls - self.WARM_UP
        if calls <= 0:
            return
        totals = self._totals()
        # Names that OpenVINO makes up differ each time, places do not.
        if [key[1] for key, _, _ in totals] != [key[1] for key, _, _ in self.nodes]:
            self.means = [[] for _ in totals]
        self.nodes, self.origins = totals, self._origins({key[0] for key, ran, _ in totals if ran})
        for place, (_, _, total) in enumerate(totals):
            self.means[place].append(max(0.0, total - self.before[place][2]) / calls)
        OpenVino.__init__(self, *self.again)
        self.calls = 0

    def operations(self):
        """Return the operations and their milliseconds."""
        ran = [(key, means) for (key, ran, _), means in zip(self.nodes, self.means) if ran]
        return [(key, sorted(means)[len(means) // 4], 1.0) for key, means in ran]

    def _origins(self, ran):
        """Return by node the names of the file's operations that it computes, and of those that ran and read it."""
        made_of, readers, found = {}, {}, {}
        for node in self.compiled.get_runtime_model().get_ops():
            facts, name, told = node.get_rt_info(), node.get_friendly_name(), ""
            if "originalLayersNames" in facts:
                told = facts["originalLayersNames"]
            made_of[name] = [each for each in str(getattr(told, "value", told)).split(",") if each]
            inputs = [port for end in node.outputs() for port in end.get_target_inputs()]
            readers[name] = [port.get_node().get_friendly_name() for port in inputs]
        for name in made_of:
            open_, seen, read_by = list(readers[name]), set(), []
            while open_:  # past what did not run, such as a change of shape
                each = open_.pop(0)
                if each in ran:
                    read_by.append(each)
                elif each not in seen:
                    seen.add(each)
                    open_.extend(readers.get(each, []))
            found[name] = made_of[name], read_by
        return found


class Alone(TFLite):
    """A TFLite file cut into one file an operation, in a folder: they run one after the other, each timed alone."""

    HOW = "each operation cut out and run alone, one after the other: fusion and caches differ from the whole"
    partitions = ()

    def __init__(self, module, artifact, settings):
        TFLite.__init__(self, module, artifact, settings)
        folder = settings.parts[artifact]
        files = [os.path.join(folder, "{}.tflite".format(place)) for place in range(len(os.listdir(folder)))]
        self.parts = [TFLite(module, path, settings) for path in files]
        self.recorded = []

    def run(self, arrays):
        """Run one sample: a part takes what those before it computed."""
        values = {tensor.name: array for tensor, array in zip(self.inputs, arrays)}
        taken = []
        for place, part in enumerate(self.parts):
            for tensor in part.inputs:
                name = tensor.name if tensor.name in values else _bare(tensor.name)
                part.interpreter.set_tensor(tensor.key, values[name])
            before = time.perf_counter_ns()
            part.interpreter.invoke()
            taken.append((("", "", "alone", place), (time.perf_counter_ns() - before) / 1e6))
            for tensor in part.outputs:
                values[tensor.name] = part.interpreter.get_tensor(tensor.key)
        self.recorded.append(taken)
        # The names of a file without a signature are bare on this side.
        values = dict({_bare(name): array for name, array in values.items()}, **values)
        return [values[tensor.name] for tensor in self.outputs]

    def begin(self):
        """Forget what was recorded."""
        self.recorded = []

    def operations(self):
        """Return the operations and their milliseconds."""
        return _means(self.recorded)


PROFILED = {
    "litert": LiteRtProfiled,
    "litert_kernels": LiteRtProfiled,
    "onnxruntime": OnnxRuntimeProfiled,
    "openvino": OpenVinoProfiled,
}


class Watched(object):
    """A model whose runs are timed, each alone."""

    def __init__(self, model):
        self.model = model
        self.inputs, self.outputs = model.inputs, model.outputs
        self.taken_ms = []

    def run(self, arrays):
        """Run one sample."""
        before = time.perf_counter_ns()
        results = self.model.run(arrays)
        self.taken_ms.append((time.perf_counter_ns() - before) / 1e6)
        return results

    def tell(self, what):
        """Tell a profiled model to begin, or of a pause."""
        getattr(self.model, what, lambda: None)()


def profile(options, program, samples):
    """Return where the time goes: of one answer, and of each graph's operations.

    The same samples run with the profiler and without, in turn. Of an answer, an inference and an operation the mean
    between the quartiles counts: on a busy machine many are interrupted.
    """
    if options.runtime not in PROFILED and not options.parts:
        text = "expected a runtime whose profiler can be reached ({}), or --parts, got {}"
        raise NoProfiler(text.format(", ".join(sorted(PROFILED)), options.runtime))
    kind = Alone if options.parts else PROFILED[options.runtime]
    folder = tempfile.mkdtemp(prefix="edgewright-profile-")
    try:
        module = LOADERS[options.runtime][0]
        fixed = {"xnnpack": False} if options.runtime == "litert_kernels" else {}
        profiled = load(options, _loader(kind, module, **fixed), folder)
        sides = [(each, _watch(each)) for each in (program, profiled)]
        answers_ms = _in_turn(sides, samples, options.profile_runs, options.profile_time_s)
        plain, watched = sides[0][1], sides[1][1]
        return {
            "how": kind.HOW,
            "answers": len(answers_ms),
            "answer_ms": _typical(answers_ms),
            "graphs": {name: _told(plain[name], watched[name], len(answers_ms)) for name in plain},
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _watch(program):
    """Time each of a program's models; return them by name."""
    if isinstance(program, Program):
        program.model = watched = Watched(program.model)
        program.run = watched.run
        return {"model": watched}
    for graph in program.graphs.values():
        graph.model = Watched(graph.model)
    return {name: graph.model for name, graph in program.graphs.items()}


def _in_turn(sides, samples, runs, time_s):
    """Run two programs in turn, some samples at a time; return the milliseconds of each answer of the first.

    Where an answer is many calls, fewer answers do.
    """
    rounds, fewest = 5, 4
    for program, watched in sides:
        for place in range(3):
            program.run(samples[place % len(samples)])
        for model in watched.values():
            model.taken_ms = []
            model.tell("begin")
    answers_ms, started = [], time.perf_counter()
    gc.collect()
    gc.disable()
    try:
        for turn in range(rounds):
            for side, (program, watched) in enumerate(sides):
                until = time.perf_counter() + time_s / (2.0 * rounds)
                calls, many = _calls(watched), len(watched) * runs / rounds
                for place in range(max(fewest, runs // rounds)):
                    before = time.perf_counter_ns()
                    program.run(samples[(turn + place) % len(samples)])
                    if side == 0:
                        answers_ms.append((time.perf_counter_ns() - before) / 1e6)
                    enough = time.perf_counter() > until or _calls(watched) - calls > many
                    if place + 1 >= fewest and enough:
                        break
                for model in watched.values():
                    model.tell("pause")
            if time.perf_counter() - started > time_s:
                break
    finally:
        gc.enable()
    return answers_ms


def _calls(watched):
    """Return how often models were called."""
    return sum(len(model.taken_ms) for model in watched.values())


def _told(plain, watched, answers):
    """Return what there is to tell of one graph; a graph that no answer called has no times."""
    if not watched.taken_ms:
        return {"calls": 0.0, "runs": 0, "ms": 0.0, "profiled_ms": 0.0, "partitions": [], "operations": []}
    operations = watched.model.operations()
    origins = getattr(watched.model, "origins", {})
    return {
        "calls": len(plain.taken_ms) / float(answers),
        "runs": len(watched.taken_ms),
        "ms": _typical(plain.taken_ms),
        "profiled_ms": _typical(watched.taken_ms),
        "partitions": list(watched.model.partitions),
        "operations": [
            {
                "name": name,
                "kind": kind,
                "unit": unit,
                "node": node,
                "ms": taken,
                "calls": calls,
                "made_of": origins.get(name, ([], []))[0],
                "readers": origins.get(name, ([], []))[1],
            }
            for (name, kind, unit, node), taken, calls in operations
        ],
    }


def _typical(values):
    """Return the mean of the values between the quartiles."""
    cut = len(values) // 4
    middle = sorted(values)[cut : len(values) - cut]
    return sum(middle) / len(middle)


def _means(runs):
    """Return (operation, its typical ms in an inference, calls an inference), in the order of the first inference."""
    taken = {}
    for place, run in enumerate(runs):
        seen = {}
        for operation, milliseconds in run:
            # The same one again in a run is another one, such as a layer that is used twice.
            seen[operation] = seen.get(operation, 0) + 1
            taken.setdefault((operation, seen[operation]), {})[place] = milliseconds
    count = len(runs)
    return [
        (operation, _typical([times.get(place, 0.0) for place in range(count)]), len(times) / float(count))
        for (operation, _), times in taken.items()
    ]


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


def inputs_of(path, golden):
    """Return the inputs that a file holds by name; of a bundle's golden.npz those alone, without the outputs."""
    start = "input/" if golden else ""
    with np.load(path, allow_pickle=False) as arrays:
        return {name[len(start) :]: arrays[name] for name in arrays.files if name.startswith(start)}


def run(options, answer):
    """Load, run and measure; put what is found into ``answer``, step by step."""
    inputs = inputs_of(options.inputs, options.golden)
    if options.measure:
        answer["telemetry"] = {"before": telemetry()}
    if options.cold:
        answer["evicted"] = all([evict(entry.split("=")[-1]) for entry in options.artifact])
    before = time.perf_counter()
    program = load(options)
    answer["load_ms"] = (time.perf_counter() - before) * 1e3
    answer["peaks_bytes"]["loaded"] = peak_memory_bytes()
    describe_models(program, answer)

    samples = program.samples(inputs)
    before = time.perf_counter()
    first = copied(program.run(samples[0]))
    answer["first_ms"] = (time.perf_counter() - before) * 1e3 / program.units()
    answer["peaks_bytes"]["run"] = peak_memory_bytes()
    answers = [first] + [copied(program.run(sample)) for sample in samples[1:]]
    outputs = program.collect(answers)
    answer["non_finite"] = int(sum(np.count_nonzero(~np.isfinite(array)) for array in outputs.values()))
    if options.measure:
        answer["warmup_runs"], answer["warmup_stable"] = warm_up(program, samples, options.warmup_s, options.max_time_s)
        answer["samples_ms"], kept = measure(
            program, samples, options.min_runs, options.min_time_s, options.max_runs, options.max_time_s
        )
        answer["at_speed"] = difference_at_speed(kept, answers)
        if options.repeats and len(samples) > 1:
            answer["repeated_ms"], answer["among_others_ms"] = repeated(
                program, samples, options.repeats, options.max_time_s / 4
            )
        answer["telemetry"]["after"] = telemetry()
    if options.profile:
        answer["profile"] = profile(options, program, samples)
    if options.count:
        answer["counted_units"] = count(program, samples[0], options.count)
    save(options.outputs, outputs)
    answer["peak_memory_bytes"] = peak_memory_bytes()
    answer["ok"] = True


def evict(path):
    """Ask the system to drop a file from its page cache, so that it is read from the disk; tell whether it could."""
    try:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    except (OSError, AttributeError):
        return False
    return True


def describe_models(program, answer):
    """Put settings, what they led to, and signatures into ``answer``: of the one model, or of each graph by name."""
    facts = {
        "settings": lambda model: getattr(model, "settings", {}),
        "ran": lambda model: model.ran() if hasattr(model, "ran") else None,
        "inputs": lambda model: [tensor.plain() for tensor in model.inputs],
        "outputs": lambda model: [tensor.plain() for tensor in model.outputs],
    }
    for name, fact in facts.items():
        if isinstance(program, Program):
            answer[name] = fact(program.model)
        else:
            answer[name] = {graph.name: fact(graph.model) for graph in program.graphs.values()}


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
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()).strip(),
        "threads": options.threads,
        "affinity": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
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


def telemetry(root="/", commands=("vcgencmd", "tegrastats")):
    """Return what latency depends on, as far as the system tells, raw: clocks, heat, throttling, power, load.

    ``root`` is where the file system begins. It is read outside of what is timed.
    """
    system = os.path.join(root, "sys")
    cores = _glob(system, "devices/system/cpu/cpu[0-9]*")
    found = {
        "clock_khz": {os.path.basename(core): _number(core, "cpufreq/scaling_cur_freq") for core in cores},
        "governor": sorted({name for name in (_text(core, "cpufreq/scaling_governor") for core in cores) if name}),
        "temperature_c": {},
        "throttled": {},
        "power_mw": {},
        "load": _number(root, "proc/loadavg"),
    }
    for zone in _glob(system, "class/thermal/thermal_zone*"):
        value = _number(zone, "temp")
        if value is not None:
            found["temperature_c"]["{} {}".format(os.path.basename(zone), _text(zone, "type"))] = value / 1e3
    for tpu in _glob(system, "class/apex/apex_*"):
        value = _number(tpu, "temp")
        if value is not None:
            found["temperature_c"][os.path.basename(tpu)] = value / 1e3
    # Counters, of which an increase tells; and the Raspberry Pi's flags, of which the lowest four bits tell of now.
    counters = _glob(system, "devices/system/cpu/cpu[0-9]*/thermal_throttle/*_throttle_count")
    for counter in counters + _glob(system, "class/hwmon/hwmon*/oc*_event_cnt"):
        found["throttled"][os.path.relpath(counter, system)] = _number(counter)
    flags = _text(system, "devices/platform/soc/soc:firmware/get_throttled")
    if flags is None and "vcgencmd" in commands:
        answered = _answered(["vcgencmd", "get_throttled"])
        flags = answered.split("=")[-1].strip() if answered else None
    if flags:
        found["throttled"]["get_throttled"] = int(flags, 16)
    _read_power(system, found["power_mw"])
    if "tegrastats" in commands:
        line = _answered(["tegrastats", "--interval", "100"])
        if line:
            found["tegrastats"] = parse_tegrastats(line)
    return found


def _read_power(system, into):
    """Put the power of each rail with an INA sensor into ``into``: voltage times current, or as the driver says."""
    for folder in _glob(system, "class/hwmon/hwmon*"):
        if not (_text(folder, "name") or "").startswith("ina"):
            continue
        for label in _glob(folder, "in*_label"):
            place = os.path.basename(label)[len("in") : -len("_label")]
            millivolt = _number(folder, "in{}_input".format(place))
            milliampere = _number(folder, "curr{}_input".format(place))
            if millivolt is not None and milliampere is not None:
                into[_text(label)] = millivolt * milliampere / 1e3
    for label in _glob(system, "bus/i2c/drivers/ina3221x/*/iio:device*/rail_name_*"):  # JetPack 4
        value = _number(os.path.dirname(label), "in_power{}_input".format(label.rsplit("_", 1)[-1]))
        if value is not None:
            into[_text(label)] = value


def parse_tegrastats(line):
    """Return what a line of tegrastats tells: temperatures in degrees Celsius, rails in mW, loads and memory.

    The formats are those of NVIDIA's "tegrastats Utility" pages for JetPack 4 to 6.
    """
    found = {"temperature_c": {}, "power_mw": {}}
    for name, value in re.findall(r"(\S+)@(-?[\d.]+)C\b", line):
        found["temperature_c"][name] = float(value)
    for name, value in re.findall(r"(\S+) (\d+)(?:mW)?/\d+(?:mW)?(?= |$)", line):
        found["power_mw"][name] = float(value)
    memory = re.search(r"\bRAM (\d+)/(\d+)MB", line)
    if memory:
        found["memory_mb"] = [int(memory.group(1)), int(memory.group(2))]
    for name, value in re.findall(r"\b(GR3D_FREQ|EMC_FREQ) (\d+)%", line):
        found[name.lower() + "_percent"] = int(value)
    return found


def _glob(folder, pattern):
    return sorted(glob.glob(os.path.join(glob.escape(folder), pattern)))


def _text(*parts):
    try:
        with open(os.path.join(*parts)) as file:
            return file.read().strip()
    except (OSError, UnicodeDecodeError):
        return None


def _number(*parts):
    try:
        return float((_text(*parts) or "").split()[0])
    except (IndexError, ValueError):
        return None


def _answered(command):
    """Return the first line that a command prints, or None; a command that goes on is stopped."""
    if not shutil.which(command[0]):
        return None
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError:
        return None
    timer = threading.Timer(3.0, process.kill)
    timer.start()
    try:
        return process.stdout.readline().decode("utf-8", "replace") or None
    finally:
        timer.cancel()
        process.kill()
        process.stdout.close()
        process.wait()


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
    parser.add_argument("--golden", action="store_true", help="the inputs are a bundle's golden.npz")
    parser.add_argument("--outputs", required=True, help=".npz to write")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cores", type=cores_of, help="run on these cores alone, such as 0,2-3")
    parser.add_argument("--delegate", action="append", default=[], help="TFLite: PATH[,KEY=VALUE...]; repeat")
    parser.add_argument("--no-xnnpack", action="store_true", help="TFLite: without XNNPACK")
    parser.add_argument("--provider", action="append", default=[], help="ONNX Runtime: such as cuda; repeat")
    parser.add_argument("--unit", default="", help="OpenVINO: CPU, GPU or NPU")
    parser.add_argument("--precision", default="", help="OpenVINO: f32, f16 or bf16, the precision that it infers in")
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--cold", action="store_true", help="drop the artifact from the page cache before it is loaded")
    parser.add_argument("--repeats", type=int, default=30, help="runs of one sample to see whether answers are kept")
    parser.add_argument("--profile", action="store_true", help="each operation's time, by the runtime's profiler")
    parts = "TFLite: for each --artifact a folder with 0.tflite, 1.tflite, ..., its operations, to profile each alone"
    parser.add_argument("--parts", action="append", default=[], help=parts)
    parser.add_argument("--profile-runs", type=int, default=200, help="inferences that are profiled, at most")
    parser.add_argument("--profile-time-s", type=float, default=5.0, help="stop profiling then")
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
    for name in ("delegate", "no_xnnpack", "provider", "unit", "precision"):
        if getattr(options, name) and name not in HEEDED.get(options.runtime, ()):
            parser.error("{} does not heed --{}".format(options.runtime, name.replace("_", "-")))
    return options


def cores_of(text):
    """Return the set of cores that a text such as 0,2-3 names."""
    ends = [part.split("-") for part in text.split(",")]
    return {core for part in ends for core in range(int(part[0]), int(part[-1]) + 1)}


def hold_on(cores):
    """Run on these cores alone."""
    if not hasattr(os, "sched_setaffinity"):
        raise SettingsError("expected a system that holds a process on cores, got {}".format(platform.system()))
    there = sorted(os.sched_getaffinity(0))
    try:
        os.sched_setaffinity(0, cores)
        missing = set(cores) - os.sched_getaffinity(0)
    except (OSError, ValueError, OverflowError):  # none of them is there
        missing = set(cores)
    if missing:
        text = "expected cores that this machine lets it use ({}), got {}"
        raise UsageError(text.format(*(", ".join(map(str, sorted(each))) for each in (there, missing))))


def main(arguments=None):
    """Answer on stdout; return the exit status."""
    options = parse(arguments)
    die_with_parent()
    # Runtimes write to stdout too: it is theirs, and the answer goes to a copy of it.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    answer, status = describe(options), 0
    try:
        if options.cores:
            hold_on(options.cores)
            answer["affinity"] = sorted(options.cores)
        status = 3
        answer["peaks_bytes"] = {"python": peak_memory_bytes()}
        importlib.import_module(LOADERS[options.runtime][0])
        answer["peaks_bytes"]["runtime"] = peak_memory_bytes()
        answer["runtime_version"] = version_of(LOADERS[options.runtime][0])
        status = 1
        run(options, answer)
        status = 0
    except Exception as error:  # whatever a runtime raises is an answer
        status = 2 if isinstance(error, UsageError) else 3 if isinstance(error, SettingsError) else status
        answer.update(ok=False, error=type(error).__name__, message=str(error))
    json.dump(answer, answers)
    answers.write("\n")
    answers.close()
    return status


if __name__ == "__main__":
    sys.exit(main())
