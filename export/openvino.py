"""OpenVINO IR, by OpenVINO's own converter; int8 by NNCF's post-training quantization."""

from typing import Any

from ._artifact import Operation
from ._exporter import Exported, Exporter, Job, count_operations


def export(job: Job) -> Exported:
    """Write ``job.stem``.xml and ``job.stem``.bin; int8 has float inputs and outputs."""
    import openvino

    model = openvino.convert_model(
        str(job.saved_model), input=[(tensor.name, list(tensor.shape)) for tensor in job.inputs]
    )
    for port in (*model.inputs, *model.outputs):
        port.get_tensor().set_names({_keras_name(port, job)})
    if job.precision == "int8":
        model = _quantize(job, model)
    path = job.folder / f"{job.stem}.xml"
    openvino.save_model(model, str(path), compress_to_fp16=False)
    return Exported(
        path=path,
        companions=(path.with_suffix(".bin"),),
        inputs=job.inputs,
        outputs=job.outputs,
        operations=_operations(model),
    )


def _keras_name(port: Any, job: Job) -> str:
    """Return the name that the Keras model has for an input or output: OpenVINO adds others, such as "image:0"."""
    known = {tensor.name for tensor in (*job.inputs, *job.outputs)}
    names = {name.split(":")[0] for name in port.get_names()} | set(port.get_names())
    matches = sorted(names & known)
    if len(matches) != 1:
        raise ValueError(f"expected one of {sorted(known)} among the names of an OpenVINO port, got {sorted(names)}")
    return matches[0]


def _quantize(job: Job, model: Any) -> Any:
    import nncf
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    samples = list(job.samples())
    # NNCF's default averages the extremes of single samples, which at batch 1 cuts off half of what a small tensor
    # holds: inputs from a normal distribution were clipped at 1.6 deviations. The extremes of all samples are taken, as
    # the quantizers of the other formats do.
    extremes = nncf.AdvancedQuantizationParameters(
        activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX
    )
    return nncf.quantize(model, nncf.Dataset(samples), subset_size=len(samples), advanced_parameters=extremes)


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
    precisions=("float32", "int8"),
    export=export,
)
