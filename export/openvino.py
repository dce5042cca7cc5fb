"""OpenVINO IR, by OpenVINO's own converter, which reads ONNX and TFLite too; quantized by NNCF."""

import sys
from collections.abc import Sequence
from typing import Any

from . import _openvino_lean, _openvino_metadata
from ._artifact import Operation, Tensor
from ._exporter import Exported, Exporter, Job, count_operations
from ._openvino_int8 import quantize_weights
from ._openvino_nncf import quantize
from ._read_openvino import read

# Where the CPU has VNNI, OpenVINO quantizes the activations of a matrix product with integer weights as it runs, in
# groups of this size; with 0 it does not. Its default is 32, so weights alone have to be asked for.
_COMPRESSED = {"dynamic_int8": "32", "int8_weights": "0", "int4_weights": "0"}
# Below this a group's scale and zero weigh as much as its weights.
_SMALLEST_GROUP = 16
# Of inputs: where their conversion to float is fused with a quantizer, the CPU plug-in refuses the file.
_NEVER_FUSED = ("i16", "u16", "u32", "u64", "f64")


def export(job: Job) -> Exported:
    """Write ``job.stem``.xml and ``job.stem``.bin; inputs and outputs are float."""
    _tell_nobody()
    import openvino

    if job.imported:
        model = openvino.convert_model(str(job.saved_model))
        names = [tensor.name for tensor in (*job.inputs, *job.outputs)]  # ports come in the file's order
    else:
        model = openvino.convert_model(
            str(job.saved_model), input=[(tensor.name, list(tensor.shape)) for tensor in job.inputs]
        )
        names = [*_keras_names(model.inputs, job.inputs), *_keras_names(model.outputs, job.outputs)]
    _part_outputs(model)
    if job.precision == "int8":
        _part_conversions_from_quantizers(model)
    # Inputs last: an output that was an input's takes its old name along until it has another.
    for port, name in reversed(list(zip((*model.inputs, *model.outputs), names, strict=True))):
        port.get_tensor().set_names({name})
    if job.quantized:
        model = quantize_weights(model)
    elif job.precision == "int8":
        model = quantize(model, list(job.samples()))
    elif job.precision in _COMPRESSED:
        model = _compress_weights(job, model)
    path = job.folder / f"{job.stem}.xml"
    openvino.save_model(model, str(path), compress_to_fp16=job.precision == "float16")
    return Exported(
        path=path,
        companions=(path.with_suffix(".bin"),),
        inputs=job.inputs,
        outputs=job.outputs,
        operations=_operations(model),
    )


def _tell_nobody() -> None:
    """Keep OpenVINO's converter and NNCF from reporting each conversion to their maker: both do without the sender."""
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]


def _keras_names(ports: Sequence[Any], tensors: Sequence[Tensor]) -> list[str]:
    """Return which of the Keras model's inputs or outputs each port is.

    OpenVINO adds other names, such as "image:0". Ports of one tensor, which is an output twice, have all of its names.
    """
    known = {tensor.name for tensor in tensors}
    found: list[str] = []
    for port in ports:
        names = {name.split(":")[0] for name in port.get_names()} | set(port.get_names())
        matches = sorted((names & known) - set(found))
        if not matches:
            raise ValueError(
                f"expected one of {sorted(known)} among the names of an OpenVINO port, got {sorted(names)}"
            )
        found.append(matches[0])
    return found


def _part_outputs(model: Any) -> None:
    """Give an output that is an input or another output a tensor of its own: a conversion to the type that it has.

    Names are those of tensors.
    """
    from openvino import opset13

    taken = set()
    for result in model.get_results():
        source = result.input_value(0)
        place = (source.get_node().get_friendly_name(), source.get_index())
        if place in taken or source.get_node().get_type_name() == "Parameter":
            result.input(0).replace_source_output(opset13.convert(source, source.get_element_type()).output(0))
        taken.add(place)


def _part_conversions_from_quantizers(model: Any) -> None:
    """Put reshapes around conversions of inputs, which nothing is fused with."""
    from openvino import opset13

    for parameter in model.get_parameters():
        if parameter.get_element_type().get_type_name() not in _NEVER_FUSED:
            continue
        for consumer in parameter.output(0).get_target_inputs():
            conversion = consumer.get_node()
            if conversion.get_type_name() == "Convert":
                after = conversion.output(0).get_target_inputs()
                consumer.replace_source_output(opset13.reshape(parameter, [-1], False).output(0))
                conversion.validate_and_infer_types()
                shaped = opset13.reshape(conversion, list(parameter.shape), False)
                for each in after:
                    each.replace_source_output(shaped.output(0))


def _compress_weights(job: Job, model: Any) -> Any:
    """Store the weights as integers, symmetric: 8 bits per output channel, or 4 bits per group.

    A matrix that groups of the asked size do not divide gets smaller groups; one that none divides and the kernels of
    convolutions, for which NNCF has no 4 bits, get 8 bits.
    """
    import nncf

    if job.precision == "int4_weights":
        adjust = nncf.AdvancedCompressionParameters(
            group_size_fallback_mode=nncf.GroupSizeFallbackMode.ADJUST, min_adjusted_group_size=_SMALLEST_GROUP
        )
        compressed = nncf.compress_weights(
            model,
            mode=nncf.CompressWeightsMode.INT4_SYM,
            group_size=job.group_size,
            ratio=1.0,
            all_layers=True,
            backup_mode=nncf.BackupMode.INT8_SYM,
            advanced_parameters=adjust,
        )
    else:
        compressed = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
    compressed.set_rt_info(_COMPRESSED[job.precision], ["runtime_options", "DYNAMIC_QUANTIZATION_GROUP_SIZE"])
    return compressed


def _operations(model: Any) -> tuple[Operation, ...]:
    operations = []
    for node in model.get_ordered_ops():
        if node.get_type_name() in ("Parameter", "Constant", "Result"):
            continue
        dtypes = {port.get_element_type().to_dtype().name for port in node.outputs()}
        operations.append((node.get_type_name(), tuple(sorted(dtypes))))
    return count_operations(operations)


EXPORTER = Exporter(
    name="openvino",
    title="OpenVINO",
    suffix=".xml",
    precisions=("float32", "float16", "dynamic_int8", "int8", "int8_weights", "int4_weights"),
    export=export,
    unsupported={
        "int16x8": "OpenVINO's CPU plug-in has no kernels for 16-bit integers: it drops such quantizers and computes "
        "in float, as it does for int8_weights."
    },
    read=read,
    lean=_openvino_lean.write,
    describe=_openvino_metadata.write,
    imports=("onnx", "tflite"),
)
