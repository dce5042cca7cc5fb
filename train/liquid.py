"""Liquid networks: recurrent cells whose neurons react to elapsed time, told by an input dt.

CfC, LTC and mmRNN cells and the NCP wiring, with a GRU of equal parameter count as the baseline. Each is trained rolled
over time; on a device one step ``(x, dt, state) -> (probabilities, next state)`` runs at a time, and the host loops.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ._liquid_control import control, driving, upright
from ._liquid_tasks import basic_motions, irregular, japanese_vowels, shifted_tests
from ._task import Architecture, Deployment, Experiment, Schedule, Task

if TYPE_CHECKING:
    import keras


def _cfc(size: str, units: int = 48, backbone: tuple[int, ...] = (64,)) -> "keras.layers.Layer":
    from ._liquid_cfc import CfCCell

    return CfCCell(units, backbone) if size == "edge" else CfCCell(4 * units, (256, 256))


def _ltc(size: str, units: int = 32) -> "keras.layers.Layer":
    from ._liquid_ltc import LTCCell

    return LTCCell(units if size == "edge" else 4 * units)


def _mmrnn(size: str) -> "keras.layers.Layer":
    from ._liquid_mmrnn import MixedMemoryCell

    return MixedMemoryCell(32, (48,)) if size == "edge" else MixedMemoryCell(128, (256, 256))


def _ncp(size: str) -> "keras.layers.Layer":
    from ._liquid_wired_cfc import WiredCfCCell
    from ._liquid_wiring import NCP

    if size == "edge":
        return WiredCfCCell(
            NCP(32, 24, 9, sensory_fan_out=16, inter_fan_out=12, recurrent_synapses=24, motor_fan_in=12)
        )
    return WiredCfCCell(NCP(128, 96, 32, sensory_fan_out=64, inter_fan_out=48, recurrent_synapses=96, motor_fan_in=48))


def _gru(size: str, units: int = 67) -> "keras.layers.Layer":
    import keras

    return keras.layers.GRUCell(units if size == "edge" else 4 * units)


def _build(
    size: str,
    seed: int,
    cell: "Callable[[str], keras.layers.Layer]",
    task: Callable[[], Task],
    readout: str,
    noise: float,
    dropout: float,
) -> "keras.Model":
    """Return the classifier for a task; see ``classifier``."""
    import keras

    from ._liquid_network import classifier

    keras.utils.set_random_seed(seed)
    data = task().train
    _, steps, sensors = data.inputs["x"].shape
    assert data.labels is not None and not isinstance(data.labels, Mapping)
    classes = int(data.labels.max()) + 1
    return classifier(cell(size), steps, sensors, classes, readout=readout, noise=noise, dropout=dropout, seed=seed)


def _deploy(model: "keras.Model", task: Callable[[], Task]) -> Deployment:
    from ._liquid_network import deployment

    return deployment(model, task())


def _build_controller(size: str, seed: int, cell: "Callable[[str], keras.layers.Layer]") -> "keras.Model":
    """Return the network that imitates the pendulum's regulator; see ``controller``."""
    import keras

    from ._liquid_network import controller

    keras.utils.set_random_seed(seed)
    _, steps, sensors = control().train.inputs["x"].shape
    return controller(cell(size), steps, sensors, actions=1)


def _deploy_controller(model: "keras.Model") -> Deployment:
    """Return the single step, to be judged by the first 64 recordings: 4,096 steps."""
    from ._liquid_network import deployment

    task = control()
    return deployment(model, dataclasses.replace(task, test=task.test.take(64)))


def _upright(model: "keras.Model") -> dict[str, float]:
    """Return how often the network itself, in the regulator's place, keeps the pendulums from falling."""
    from ._liquid_network import step

    return {"episodes upright (%)": upright(driving(step(model)))}


def _under_shift(model: "keras.Model", task: Callable[[], Task]) -> dict[str, float]:
    """Return the accuracy on a test set whose sensors or sampling rate changed, without retraining."""
    from ._training import outputs_of

    metric = task().metric
    assert metric is not None
    return {
        f"accuracy at {shift} (%)": metric.measure(outputs_of(model, data), data.labels)
        for shift, data in shifted_tests(task()).items()
        if data.labels is not None
    }


def _experiment(
    name: str,
    title: str,
    cell: "Callable[[str], keras.layers.Layer]",
    task: Callable[[], Task],
    edge: Schedule,
    bar: float | None = None,
    readout: str = "last",
    noise: float = 0.3,
    dropout: float = 0.3,
) -> Experiment:
    full = Schedule(epochs=300, batch_size=edge.batch_size, learning_rate=1e-3, warmup=0.05, clip_norm=1.0)
    options: dict[str, Any] = {"task": task}
    return Experiment(
        name=name,
        title=title,
        build=functools.partial(_build, cell=cell, readout=readout, noise=noise, dropout=dropout, **options),
        task=task,
        schedules={"edge": edge, "full": full},
        deploy=functools.partial(_deploy, **options),
        measures=functools.partial(_under_shift, **options),
        bar=bar,
    )


def _controlling(
    name: str, title: str, cell: "Callable[[str], keras.layers.Layer]", edge: Schedule, bar: float | None = None
) -> Experiment:
    return Experiment(
        name=name,
        title=title,
        build=functools.partial(_build_controller, cell=cell),
        task=control,
        schedules={"edge": edge, "full": dataclasses.replace(edge, epochs=10 * edge.epochs, learning_rate=1e-3)},
        deploy=_deploy_controller,
        measures=_upright,
        bar=bar,
    )


_VOWELS = Schedule(epochs=60, batch_size=32, learning_rate=3e-3, warmup=0.05, clip_norm=1.0)
_SOLVER = Schedule(epochs=40, batch_size=32, learning_rate=2e-2, warmup=0.05, clip_norm=1.0)
_WIRED = Schedule(epochs=40, batch_size=32, learning_rate=5e-3, warmup=0.05, clip_norm=1.0)
_MOTIONS = Schedule(epochs=30, batch_size=8, learning_rate=3e-3, warmup=0.05, clip_norm=1.0)
_MIXED = Schedule(epochs=40, batch_size=32, learning_rate=3e-3, warmup=0.05, clip_norm=1.0)
# Each the best of its cell by 5-fold cross-validation on the training recordings, over the same choices.
_LOSSY = Schedule(epochs=80, batch_size=32, learning_rate=1e-2, warmup=0.05, clip_norm=1.0)
_LOSSY_GRU = dataclasses.replace(_LOSSY, epochs=40)
_CONTROL = Schedule(epochs=30, batch_size=32, learning_rate=1e-2, warmup=0.05, clip_norm=1.0)
_CONTROL_LTC = dataclasses.replace(_CONTROL, epochs=12)
_LEAST_SQUARES = 0.047  # the error of the best affine function of positions and their differences over dt
_mean = functools.partial(_experiment, readout="mean", dropout=0.1)
_motions = functools.partial(_mean, task=basic_motions, edge=_MOTIONS, noise=0.1)
_small_cfc = functools.partial(_cfc, units=32, backbone=(48,))
_small_ltc = functools.partial(_ltc, units=24)
_small_gru = functools.partial(_gru, units=48)

ARCHITECTURE = Architecture(
    "liquid",
    "Liquid network",
    (
        _experiment("cfc-japanese-vowels", "CfC, 48 units", _cfc, japanese_vowels, _VOWELS, bar=95.0),
        _experiment("ltc-japanese-vowels", "LTC, 32 units", _ltc, japanese_vowels, _SOLVER, 95.0, "mean", noise=0.4),
        _experiment("mmrnn-japanese-vowels", "mmRNN, 32 units", _mmrnn, japanese_vowels, _MIXED, bar=95.0),
        _mean("ncp-japanese-vowels", "CfC with NCP wiring, 65 neurons", _ncp, japanese_vowels, _WIRED, 95.0, noise=0.2),
        _experiment("gru-japanese-vowels", "GRU, 67 units", _gru, japanese_vowels, _VOWELS),
        _motions("cfc-basic-motions", "CfC, 32 units", _small_cfc, bar=95.0),
        _motions("gru-basic-motions", "GRU, 48 units", _small_gru),
        _experiment("cfc-irregular", "CfC, 48 units", _cfc, irregular, _LOSSY, readout="mean", noise=0.6),
        _experiment("gru-irregular", "GRU, 67 units", _gru, irregular, _LOSSY_GRU, readout="mean", noise=0.6),
        _controlling("cfc-control", "CfC, 32 units", _small_cfc, _CONTROL, bar=_LEAST_SQUARES),
        _controlling("ltc-control", "LTC, 24 units", _small_ltc, _CONTROL_LTC, bar=_LEAST_SQUARES),
        _controlling("mmrnn-control", "mmRNN, 32 units", _mmrnn, _CONTROL, bar=_LEAST_SQUARES),
        _controlling("gru-control", "GRU, 48 units", _small_gru, _CONTROL),
    ),
)
