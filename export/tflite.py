"""TFLite, by TensorFlow's own converter; weights alone, imported files and some 16-bit ones by AI Edge Quantizer."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from . import _tflite_int8, _tflite_lean, _tflite_metadata, _tflite_sparse
from ._artifact import Operation, Tensor
from ._exporter import Exported, Exporter, Job, count_operations
from ._freeze import SIGNATURE
from ._read_tflite import read
from ._tflite_file import WEIGHT_BITS, quantize_file, signature_of


def export(job: Job) -> Exported:
    """Write ``job.stem``.tflite.

    Int8 and int16x8 have integer inputs and outputs, as the Edge TPU and microcontrollers ask for; all others have
    float ones.
    """
    if job.imported:
        content = quantize_file(job, job.saved_model.read_bytes())
    elif job.precision in WEIGHT_BITS or _fails_to_calibrate(job):
        content = quantize_file(job, _convert(replace(job, precision="float32", sparse=False)))
    else:
        content = _convert(job)
    if job.precision == "int8":
        content = _tflite_int8.mended(content)
    path = job.folder / f"{job.stem}.tflite"
    path.write_bytes(content)
    interpreter = _interpreter(job, path)
    interpreter.allocate_tensors()
    inputs, outputs = signature_of(interpreter)
    return Exported(
        path=path,
        companions=(),
        inputs=_tensors(job.inputs, inputs),
        outputs=_tensors(job.outputs, outputs),
        operations=_operations(interpreter),
    )


def _fails_to_calibrate(job: Job) -> bool:
    """Tell whether TensorFlow's 16-bit calibrator wants ranges of inputs that have none: numbers, such as tokens."""
    return job.precision == "int16x8" and any("int" in tensor.dtype or tensor.dtype == "bool" for tensor in job.inputs)


def _interpreter(job: Job, path: Path) -> Any:
    """Return an interpreter of the file: TensorFlow's where it is loaded anyway, otherwise LiteRT's, which is light."""
    if job.imported:
        from ai_edge_litert.interpreter import Interpreter

        return Interpreter(str(path))
    import tensorflow as tf

    return tf.lite.Interpreter(str(path))


def _convert(job: Job) -> bytes:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(job.saved_model), signature_keys=[SIGNATURE])
    if job.precision in ("float16", "dynamic_int8", "int8", "int16x8"):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if job.precision == "float32" and job.sparse:
        # Int8 gains nothing by it: XNNPACK refuses such files, and the built-in kernels are no faster.
        converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
        return _tflite_sparse.mended(bytes(converter.convert()), lambda: _convert(replace(job, sparse=False)))
    if job.precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if job.precision == "int8":
        if not job.quantized:
            converter.representative_dataset = job.samples
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        if not job.float_tensors:
            converter.inference_input_type = converter.inference_output_type = tf.int8
    if job.precision == "int16x8":
        converter.representative_dataset = job.samples
        # What TFLite has no 16-bit kernel for, such as NEG and SELECT_V2, stays in float.
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
            tf.lite.OpsSet.TFLITE_BUILTINS,
        ]
        if not job.float_tensors:
            converter.inference_input_type = converter.inference_output_type = tf.int16
    return bytes(converter.convert())


def _tensors(expected: tuple[Tensor, ...], details: dict[str, Any]) -> tuple[Tensor, ...]:
    tensors = []
    for tensor in expected:
        detail = details[tensor.name]
        scale, zero_point = detail["quantization"]
        quantized = scale > 0
        tensors.append(
            Tensor(
                name=tensor.name,
                shape=tuple(int(size) for size in detail["shape"]),
                dtype=detail["dtype"].__name__,
                scale=float(scale) if quantized else None,
                zero_point=int(zero_point) if quantized else None,
            )
        )
    return tuple(tensors)


def _operations(interpreter: Any) -> tuple[Operation, ...]:
    types = {detail["index"]: detail["dtype"].__name__ for detail in interpreter.get_tensor_details()}
    constant = _constants(interpreter)
    operations = []
    for operation in interpreter._get_ops_details():
        if operation["op_name"] == "DELEGATE":
            continue
        tensors = [index for index in (*operation["inputs"], *operation["outputs"]) if index >= 0]
        dtypes = {types[index] for index in tensors if index in types and index not in constant}
        operations.append((operation["op_name"], tuple(sorted(dtypes))))
    return count_operations(operations)


def _constants(interpreter: Any) -> set[int]:
    """Return the tensors that no operation computes and that are no inputs: the weights."""
    computed = {index for operation in interpreter._get_ops_details() for index in operation["outputs"]}
    inputs = {detail["index"] for detail in interpreter.get_input_details()}
    return {detail["index"] for detail in interpreter.get_tensor_details()} - computed - inputs


EXPORTER = Exporter(
    name="tflite",
    title="TFLite",
    suffix=".tflite",
    precisions=("float32", "float16", "dynamic_int8", "int8", "int16x8", "int8_weights", "int4_weights"),
    export=export,
    read=read,
    lean=_tflite_lean.write,
    describe=_tflite_metadata.write,
    imports=("tflite",),
    loads=("tensorflow",),
)
