"""How far outputs agree: choices by their class, values each by itself, constants by their size."""

import numpy as np
import pytest

from edgewright.train._agreement import agreement_percent, determination_percent

_RANDOM = np.random.default_rng(0)


def _softmax(logits):
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def _in_steps(outputs):
    """Return outputs as one int8 scale for all of them has them."""
    scale = (max(outputs.max(), 0) - min(outputs.min(), 0)) / 255
    return np.round(outputs / scale) * scale if scale else outputs


def test_a_value_that_is_lost_beside_a_large_one_shows():
    """Of two values far apart in size, the one that a common scale flattens decides, though the larger one is right."""
    outputs = np.stack([1000 + 30 * _RANDOM.normal(size=60), 0.3 * _RANDOM.normal(size=60)], axis=1)
    assert agreement_percent(outputs, _in_steps(outputs)) < 50
    assert agreement_percent(outputs, outputs + 0.01 * _RANDOM.normal(size=outputs.shape)) > 99


@pytest.mark.parametrize("always", [False, True])
def test_probabilities_agree_by_their_class(always):
    """Of probabilities the class counts, also where it is the same in all samples."""
    outputs = _softmax(_RANDOM.normal(size=(50, 4)) + (np.array([9, 0, 0, 0]) if always else 0))
    assert agreement_percent(outputs, outputs * 0.9) == 100
    assert agreement_percent(outputs, np.roll(outputs, 1, axis=1)) < (1 if always else 50)


def test_logits_agree_by_their_class():
    """Outputs whose largest is not always the same are choices, whatever their scale."""
    outputs = 5 * _RANDOM.normal(size=(50, 4))
    assert agreement_percent(outputs, outputs * 3) == 100
    assert agreement_percent(outputs, -outputs) < 50


def test_a_share_near_zero_does_not_decide():
    """A sigmoid output that is next to nothing in all samples, which int8 rounds away, leaves the others their say."""
    outputs = np.stack([0.9 + 0.05 * _RANDOM.random(60), 0.001 * _RANDOM.random(60)], axis=1)
    assert agreement_percent(outputs, _in_steps(outputs)) > 95
    assert agreement_percent(outputs, 0.5 * outputs) < 50


@pytest.mark.parametrize("shape", [(1, 1), (1, 8), (60, 1), (60, 3), (1, 4, 4, 2)])
def test_what_does_not_vary_agrees_by_its_size(shape):
    """Constant outputs, and those of one sample, agree where they are right to a step of int8, and not where not."""
    outputs = np.full(shape, 0.3) if shape[0] > 1 else _RANDOM.uniform(2, 3, shape)
    assert agreement_percent(outputs, outputs * (1 + 1e-7)) > 99.9
    assert agreement_percent(outputs, _in_steps(outputs * 1.001)) > 90
    assert determination_percent(outputs, 0.5 * outputs) < 50


def test_rounding_of_a_constant_is_no_variation():
    """Float noise around a constant is not held against an export that has less of it."""
    outputs = (0.3 + 1e-8 * _RANDOM.normal(size=(60, 1))).astype(np.float32)
    assert agreement_percent(outputs, np.full((60, 1), 0.3, np.float16)) > 99


def test_silence_agrees_with_silence_alone():
    """Outputs that are all zero agree with zeros, and with nothing else."""
    assert agreement_percent(np.zeros((5, 1)), np.zeros((5, 1))) == 100
    assert agreement_percent(np.zeros((5, 1)), np.full((5, 1), 0.1)) == 0
