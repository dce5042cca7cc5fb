"""ONNX, by tf2onnx; quantized by ONNX Runtime (QuantizeLinear and DequantizeLinear pairs, or integer operations)."""

import shutil
from pathlib import Path
from typing import Any

from ..compress._recipe import TENSORRT
from . import _onnx_lean, _onnx_metadata, _onnx_weights
from ._artifact import Operation
from ._exporter import Exported, Exporter, Job, count_operations
from ._freeze import SIGNATURE
from ._onnx_handlers import handlers, number_operations
from ._onnx_int8 import quantize_as_written
from ._onnx_signature import at_batch_1, renamed
from ._read_onnx import read

# Opset 17 is what TensorRT 8.6 (JetPack 5) and every runtime of the shipped profiles read; 13 or later has the
# per-channel QuantizeLinear that int8 needs. Integers of 4 and 16 bits came with opset 21: files with them have it.
OPSET = 17
_OPSET_OF_INT4 = 21
_OPSET_OF_CHANNELS = 13
# Convolutions are left out: ONNX Runtime's ConvInteger took eight times as long as the float convolution. Their weights
# are stored as int8.
_COMPUTED_IN_INTEGERS = ["MatMul", "Gather", "LSTM"]


def export(job: Job) -> Exported:
    """Write ``job.stem``.onnx, a single file; inputs and outputs are float, as execution providers expect."""
    import onnx

    path = job.folder / f"{job.stem}.onnx"
    unquantized = job.folder / f".{job.stem}.float32.onnx"
    _convert(job, unquantized)
    if job.quantized:
        quantize_as_written(unquantized, path, signed=job.unit == TENSORRT)
    elif job.precision in ("int8", "int16x8"):
        _quantize(job, unquantized, path)
    elif job.precision == "dynamic_int8":
        _quantize_dynamically(job, unquantized, path)
    else:
        onnx.save(_with_narrow_weights(onnx.load(unquantized), job), path)
    unquantized.unlink()
    model = onnx.load(path)
    # An imported file may hold operations that ONNX does not know and ONNX Runtime does.
    onnx.checker.check_model(model, full_check=job.imported != "onnx")
    return Exported(path=path, companions=(), inputs=job.inputs, outputs=job.outputs, operations=_operations(model))


def _with_narrow_weights(model: Any, job: Job) -> Any:
    import onnx

    if job.precision == "float16":
        _onnx_weights.store_float16(model)
    elif job.precision == "int8_weights":
        _onnx_weights.store_int8(model)
    elif job.precision == "int4_weights":
        model = onnx.version_converter.convert_version(model, _OPSET_OF_INT4)
        _onnx_weights.store_int4(model, job.group_size)
    return model


def _convert(job: Job, path: Path) -> None:
    """Write the graph as float32 ONNX."""
    import onnx

    if job.imported == "onnx":
        shutil.copyfile(job.saved_model, path)
        if job.precision != "float32":
            _simplify(path)
        return
    model = _of_tflite(job) if job.imported else _of_saved_model(job)
    onnx.save(onnx.shape_inference.infer_shapes(_renamed(model, job)), path)


def _simplify(path: Path) -> None:
    """Make of any file what the quantizers expect: opset 13, and weights as initializers, whatever computed them."""
    import onnx
    import onnxruntime

    model = onnx.load(path)
    if any(opset.domain in ("", "ai.onnx") and opset.version < _OPSET_OF_CHANNELS for opset in model.opset_import):
        onnx.save(onnx.version_converter.convert_version(model, _OPSET_OF_CHANNELS), path)
    folded = path.with_name(f"{path.name}.folded")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folded)
    onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    folded.replace(path)


def _of_tflite(job: Job) -> Any:
    import tf2onnx

    number_operations()
    model, _ = tf2onnx.convert.from_tflite(str(job.saved_model), opset=OPSET, custom_op_handlers=handlers())
    at_batch_1(model)
    return model


def _of_saved_model(job: Job) -> Any:
    import tensorflow as tf
    import tf2onnx

    signature = tf.saved_model.load(str(job.saved_model)).signatures[SIGNATURE]
    specs = [tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.name) for tensor in job.inputs]
    order = [tensor.name for tensor in job.outputs]

    @tf.function(input_signature=specs, autograph=False)
    def call(*arrays: Any) -> list[Any]:
        outputs = signature(**{spec.name: array for spec, array in zip(specs, arrays, strict=True)})
        return [outputs[name] for name in order]

    number_operations()
    model, _ = tf2onnx.convert.from_function(call, input_signature=specs, opset=OPSET, custom_op_handlers=handlers())
    return model


def _renamed(model: Any, job: Job) -> Any:
    """Give the model's inputs and outputs the job's names; tf2onnx keeps their order."""
    return renamed(model, [tensor.name for tensor in (*job.inputs, *job.outputs)])


def _quantize(job: Job, source: Path, target: Path) -> None:
    """Quantize to int8 weights with int8 or int16 activations, whose scales are taken from the samples."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Samples(CalibrationDataReader):
        """The representative dataset, one sample at a time."""

        def __init__(self) -> None:
            self.samples = job.samples()

        def get_next(self) -> Any:
            return next(self.samples, None)

    wide, signed = job.precision == "int16x8", job.unit == TENSORRT
    prepared = _prepared(job, source)
    quantize_static(
        str(prepared),
        str(target),
        Samples(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QInt16 if wide else QuantType.QInt8,
        weight_type=QuantType.QInt8,
        # TensorRT has no zero points, and no biases in integers.
        extra_options={"WeightSymmetric": True, "ActivationSymmetric": wide or signed, "QuantizeBias": not signed},
    )
    prepared.unlink()


def _quantize_dynamically(job: Job, source: Path, target: Path) -> None:
    """Quantize matrix products to int8, their activations by the range that each call finds in them."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    prepared = _prepared(job, source)
    loops = any(node.op_type == "Loop" for node in onnx.load(prepared).graph.node)
    quantize_dynamic(
        str(prepared),
        str(target),
        # ONNX Runtime dies where what it makes of a Gather feeds a loop: such tables are stored narrow as weights are.
        op_types_to_quantize=[each for each in _COMPUTED_IN_INTEGERS if not (loops and each == "Gather")],
        per_channel=True,
        weight_type=QuantType.QInt8,
    )
    prepared.unlink()
    model = onnx.load(target)
    _onnx_weights.sort_operations(model.graph)
    _onnx_weights.store_int8(model)
    onnx.save(model, target)


def _prepared(job: Job, source: Path) -> Path:
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = job.folder / f".{job.stem}.prepared.onnx"
    # Shapes are static and inferred already; symbolic inference would only add a dependency.
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    return prepared


def _operations(model: Any) -> tuple[Operation, ...]:
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model).graph
    types = {
        value.name: onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name
        for value in (*inferred.value_info, *inferred.input, *inferred.output)
    }
    for initializer in inferred.initializer:
        types.pop(initializer.name, None)
    operations = []
    for node in inferred.node:
        dtypes = {types[name] for name in (*node.input, *node.output) if name in types}
        operations.append((node.op_type, tuple(sorted(dtypes))))
    return count_operations(operations)


EXPORTER = Exporter(
    name="onnx",
    title="ONNX",
    suffix=".onnx",
    precisions=("float32", "float16", "dynamic_int8", "int8", "int16x8", "int8_weights", "int4_weights"),
    export=export,
    read=read,
    lean=_onnx_lean.write,
    describe=_onnx_metadata.write,
    imports=("onnx", "tflite"),
    loads=("tensorflow",),
)
