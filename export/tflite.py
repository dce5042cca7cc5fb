"""TFLite, by TensorFlow's own converter."""

from typing import Any

from ._artifact import Operation, Tensor
from ._exporter import Exported, Exporter, Job, count_operations
from ._freeze import SIGNATURE


def export(job: Job) -> Exported:
    """Write ``job.stem``.tflite; int8 has integer inputs and outputs, as the Edge TPU asks for."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(job.saved_model), signature_keys=[SIGNATURE])
    if job.precision == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = job.samples
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.int8
        converter.inference_output_type = tf.int8
    path = job.folder / f"{job.stem}.tflite"
    path.write_bytes(converter.convert())
    interpreter = tf.lite.Interpreter(str(path))
    interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner(SIGNATURE)
    return Exported(
        path=path,
        companions=(),
        inputs=_tensors(job.inputs, runner.get_input_details()),
        outputs=_tensors(job.outputs, runner.get_output_details()),
        operations=_operations(interpreter),
    )


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
    precisions=("float32", "int8"),
    export=export,
)
