"""Int8 of an OpenVINO model by NNCF: activations symmetric, or asymmetric where that loses far less."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import nncf

# Activations that reach far to one side of zero and a little to the other: symmetric steps are lost on what never
# comes. OpenVINO's documents advise the preset "mixed", asymmetric activations, where there is no ReLU. Erf is GELU's.
_LOPSIDED = {"Elu", "Erf", "Gelu", "HSwish", "Mish", "PRelu", "Selu", "Swish"}
# Asymmetric activations take up to a fifth more time in a CPU's integer products, so they have to be worth it.
_WORTH_IT = 3 / 4
# As the runner runs them: fused into one kernel, int8 dense layers compute nonsense on one thread of a CPU with AMX.
_SETTINGS = {"INFERENCE_PRECISION_HINT": "f32", "SNIPPETS_MODE": "DISABLE"}
# Samples that both are judged on.
_JUDGED = 64


def quantize(model: Any, samples: list[dict[str, np.ndarray]]) -> Any:
    """Return the model in int8.

    Where it has activations that reach far to one side of zero and a little to the other, it is quantized both ways;
    the asymmetric one is taken if its answers to the samples are off by less than three quarters of the other's.
    """
    import nncf

    symmetric = _quantized(model, samples, nncf.QuantizationPreset.PERFORMANCE)
    if _LOPSIDED.isdisjoint(node.get_type_name() for node in model.get_ops()):
        return symmetric
    asymmetric = _quantized(model, samples, nncf.QuantizationPreset.MIXED)
    judged = samples[:_JUDGED]
    expected = _answers(model, judged)
    errors = [_error(_answers(each, judged), expected) for each in (symmetric, asymmetric)]
    return asymmetric if errors[1] < _WORTH_IT * errors[0] else symmetric


def _quantized(model: Any, samples: list[dict[str, np.ndarray]], preset: "nncf.QuantizationPreset") -> Any:
    import nncf
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    # NNCF's default averages the extremes of single samples, which at batch 1 cuts off half of what a small tensor
    # holds: inputs from a normal distribution were clipped at 1.6 deviations. The extremes of all samples are taken, as
    # the quantizers of the other formats do.
    extremes = nncf.AdvancedQuantizationParameters(
        activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX
    )
    return nncf.quantize(
        model, nncf.Dataset(samples), preset=preset, subset_size=len(samples), advanced_parameters=extremes
    )


def _answers(model: Any, samples: list[dict[str, np.ndarray]]) -> list[np.ndarray]:
    """Return each output for all samples, the samples' axis first."""
    import openvino

    compiled = openvino.Core().compile_model(model, "CPU", _SETTINGS)
    answers = [compiled(sample) for sample in samples]
    return [np.stack([answer[port] for answer in answers]).astype(np.float64) for port in compiled.outputs]


def _error(answers: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """Return the root of the mean square of the errors, each output's in units of its standard deviation."""
    squares = [
        np.square(ours - theirs).mean() / max(float(theirs.var()), np.finfo(np.float64).tiny)
        for ours, theirs in zip(answers, expected, strict=True)
    ]
    return float(np.sqrt(np.mean(squares)))
