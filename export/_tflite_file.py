"""A float TFLite file quantized by AI Edge Quantizer, without the model that it was made of."""

from collections.abc import Mapping
from typing import Any

from ._exporter import Job
from ._names import plain_names
from ._tflite_flatbuffer import packed, signature, text, unpacked

# 4-bit weights have a scale for each output channel: AI Edge Quantizer 0.10 has no groups without quantized
# activations, and where it is forced to write them the runtimes compute nonsense (tests/test_precisions.py).
WEIGHT_BITS = {"int8_weights": 8, "int4_weights": 4}
_ACTIVATION_BITS = {"int8": 8, "int16x8": 16}
_ANY: dict[str, Any] = {"regex": ".*", "operation_name": "*"}
_ADDED_SIGNATURE = "calibrated"


def quantize_file(job: Job, content: bytes) -> bytes:
    """Return a float file in the job's precision.

    Weights are symmetric per output channel. Those of int8_weights and int4_weights are widened on loading, and so are
    those of float16. Int8 and int16x8 have integer inputs and outputs too, with the extremes of all samples as ranges.
    """
    from ai_edge_quantizer.quantizer import Quantizer
    from ai_edge_quantizer.recipe_manager import RecipeManager

    recipe, ranges = RecipeManager(), None
    if job.precision == "float32":
        return content
    if job.precision == "float16":
        _add_float16(recipe)
    elif job.precision == "dynamic_int8":
        recipe.add_dynamic_config(**_ANY, num_bits=8)
    elif job.precision in WEIGHT_BITS:
        recipe.add_weight_only_config(**_ANY, num_bits=WEIGHT_BITS[job.precision])
    else:
        recipe.add_static_config(**_ANY, activation_num_bits=_ACTIVATION_BITS[job.precision], weight_num_bits=8)
        ranges = _ranges(job, content, recipe)
    made = Quantizer(content, recipe.get_quantization_recipe()).quantize(ranges, enable_progress_report=False)
    return bytes(made.quantized_model)


def signature_of(interpreter: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the details of a file's inputs and of its outputs by name, by the runner's rule for which signature."""
    _, inputs, outputs = tflite_signature(interpreter)
    return inputs, outputs


def tflite_signature(interpreter: Any) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Return the name, the inputs and the outputs of the signature of the first subgraph, as the runner does.

    Where no signature names that subgraph, its tensors' own names count, and the name is empty.
    """
    sides = interpreter.get_input_details(), interpreter.get_output_details()
    first = [{(detail["index"], detail["name"]) for detail in details} for details in sides]
    for name in sorted(interpreter.get_signature_list(), key=lambda name: (name != "serving_default", name)):
        runner = interpreter.get_signature_runner(name)
        found = runner.get_input_details(), runner.get_output_details()
        named = [{(each["index"], each["name"]) for each in side.values()} for side in found]
        if all(side <= own for side, own in zip(named, first, strict=True)):
            return name, *found
    inputs, outputs = (dict(zip(plain_names([each["name"] for each in side]), side, strict=True)) for side in sides)
    return "", inputs, outputs


def _add_float16(recipe: Any) -> None:
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.qtyping import (
        ComputePrecision,
        OpQuantizationConfig,
        TensorDataType,
        TensorQuantizationConfig,
    )

    halves = TensorQuantizationConfig(num_bits=16, dtype=TensorDataType.FLOAT)
    setting = OpQuantizationConfig(
        weight_tensor_config=halves, compute_precision=ComputePrecision.FLOAT, explicit_dequantize=True
    )
    recipe.add_quantization_config(**_ANY, op_config=setting, algorithm_key=AlgorithmName.FLOAT_CASTING)


def _ranges(job: Job, content: bytes, recipe: Any) -> Mapping[str, Any]:
    """Return the extremes of each tensor over the samples.

    AI Edge Quantizer's default, a moving average of the samples' extremes, would depend on their order.
    """
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer.calibrator import Calibrator
    from ai_edge_quantizer.utils.qsv_utils import min_max_update

    signature, _, _ = tflite_signature(Interpreter(model_content=content))
    if not signature:
        content, signature = _with_signature(content), _ADDED_SIGNATURE
    calibrator = Calibrator(content, num_threads=1, qsv_update_func=min_max_update)
    calibrator.calibrate({signature: list(job.samples())}, recipe)
    ranges: Mapping[str, Any] = calibrator.get_model_qsvs()
    return ranges


def _with_signature(content: bytes) -> bytes:
    """Return a file with a signature, which calibration asks for: files of old converters have none."""
    model = unpacked(content)
    graph = model.subgraphs[0]
    sides = (
        list(zip(plain_names([text(graph.tensors[place].name) for place in places]), places, strict=True))
        for places in (graph.inputs, graph.outputs)
    )
    model.signatureDefs = [signature(_ADDED_SIGNATURE, *sides)]
    return packed(model)
