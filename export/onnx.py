"""ONNX, by tf2onnx; int8 by ONNX Runtime's static quantizer (QuantizeLinear and DequantizeLinear pairs)."""

from pathlib import Path
from typing import Any

from ._artifact import Operation
from ._exporter import Exported, Exporter, Job, count_operations
from ._freeze import SIGNATURE

# Opset 17 is what TensorRT 8.6 (JetPack 5) and every runtime of the shipped profiles read; 13 or later has the
# per-channel QuantizeLinear that int8 needs.
OPSET = 17


def export(job: Job) -> Exported:
    """Write ``job.stem``.onnx, a single file; int8 has float inputs and outputs, as execution providers expect."""
    import onnx

    path = job.folder / f"{job.stem}.onnx"
    if job.precision == "int8":
        unquantized = job.folder / f".{job.stem}.float32.onnx"
        _convert(job, unquantized)
        _quantize(job, unquantized, path)
        unquantized.unlink()
    else:
        _convert(job, path)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    return Exported(path=path, companions=(), inputs=job.inputs, outputs=job.outputs, operations=_operations(model))


def _convert(job: Job, path: Path) -> None:
    import onnx
    import tensorflow as tf
    import tf2onnx

    signature = tf.saved_model.load(str(job.saved_model)).signatures[SIGNATURE]
    specs = [tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.name) for tensor in job.inputs]
    order = [tensor.name for tensor in job.outputs]

    @tf.function(input_signature=specs, autograph=False)
    def call(*arrays: Any) -> list[Any]:
        outputs = signature(**{spec.name: array for spec, array in zip(specs, arrays, strict=True)})
        return [outputs[name] for name in order]

    model, _ = tf2onnx.convert.from_function(call, input_signature=specs, opset=OPSET)
    onnx.save(onnx.shape_inference.infer_shapes(_renamed(model, job)), path)


def _renamed(model: Any, job: Job) -> Any:
    """Give the model's inputs and outputs the Keras model's names; tf2onnx keeps their order.

    Everything is prefixed first, so that no inner name can be the same as one of them.
    """
    import onnx

    model = onnx.compose.add_prefix(model, "inner/", rename_nodes=False, rename_functions=False)
    wanted = [tensor.name for tensor in (*job.inputs, *job.outputs)]
    values = [*model.graph.input, *model.graph.output]
    renamed = dict(zip((value.name for value in values), wanted, strict=True))
    for value in values:
        value.name = renamed[value.name]
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    return model


def _quantize(job: Job, source: Path, target: Path) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Samples(CalibrationDataReader):
        """The representative dataset, one sample at a time."""

        def __init__(self) -> None:
            self.samples = job.samples()

        def get_next(self) -> Any:
            return next(self.samples, None)

    prepared = job.folder / f".{job.stem}.prepared.onnx"
    # Shapes are static and inferred already; symbolic inference would only add a dependency.
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared),
        str(target),
        Samples(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        extra_options={"WeightSymmetric": True, "ActivationSymmetric": False},
    )
    prepared.unlink()


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
    precisions=("float32", "int8"),
    export=export,
)
