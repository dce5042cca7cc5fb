"""Graph networks for molecules: SchNet, PaiNN and message passing over bonds, in the padded dense form."""

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _graph_ethanol as ethanol
from . import _graph_freesolv as freesolv
from . import _graph_qm9 as qm9
from ._task import Architecture, Dataset, Deployment, Experiment, Schedule

if TYPE_CHECKING:
    import keras

# By size: features, interactions, radial functions and where interactions end, in angstrom.
GAP_SIZES = {"edge": (64, 3, 24, 6.0), "full": (128, 6, 50, 10.0)}
PAINN_SIZES = {"edge": (48, 2, 20, 6.0), "full": (128, 3, 20, 10.0)}
FORCE_SIZES = {"edge": (48, 3, 24, 5.0), "full": (128, 6, 50, 5.0)}
# By size: features, interactions, dropout.
SOLVATION_SIZES = {"edge": (64, 3, 0.1), "full": (128, 5, 0.2)}
_HOST = Path(__file__).with_name("_graph_host.py")


def build_schnet_gap(size: str = "edge", seed: int = 0) -> "keras.Model":
    """Return SchNet over heavy atoms: ``atoms``, ``positions``, ``mask`` to ``gap`` ``[batch, 1]`` in eV."""
    import keras

    from ._graph_gap import gap_model

    keras.utils.set_random_seed(seed)
    return gap_model("schnet", *GAP_SIZES[size])


def build_painn_gap(size: str = "edge", seed: int = 0) -> "keras.Model":
    """Return PaiNN over heavy atoms: ``atoms``, ``positions``, ``mask`` to ``gap`` ``[batch, 1]`` in eV."""
    import keras

    from ._graph_gap import gap_model

    keras.utils.set_random_seed(seed)
    return gap_model("painn", *PAINN_SIZES[size])


def build_schnet_forces(size: str = "edge", seed: int = 0) -> "keras.Model":
    """Return a SchNet potential: ``atoms``, ``positions``, ``mask`` to ``energy`` (eV) and ``forces`` (eV/A)."""
    import keras

    from ._graph_forces import force_model

    keras.utils.set_random_seed(seed)
    return force_model(*FORCE_SIZES[size])


def build_solvation(size: str = "edge", seed: int = 0) -> "keras.Model":
    """Return message passing over bonds: ``atoms``, ``bonds``, ``mask`` to ``energy`` ``[batch, 1]`` in kcal/mol."""
    import keras

    from ._graph_solvation import solvation_model

    keras.utils.set_random_seed(seed)
    return solvation_model(*SOLVATION_SIZES[size], seed)


def deploy_gap(model: "keras.Model") -> Deployment:
    """Return the graph behind the geometry, and the host that folds hydrogens and computes the geometry."""
    from ._graph_gap import gap_graph

    graph = gap_graph(model)
    settings = {"elements": list(qm9.ELEMENTS), "hydrogens": qm9.HYDROGENS, "max_atoms": qm9.MAX_HEAVY}
    return Deployment(
        graphs={"model": graph},
        task=qm9.whole_molecules(),
        host=_HOST,
        settings={**settings, **_geometry(model, graph), "outputs": ["gap"]},
        unit="molecule",
    )


def deploy_forces(model: "keras.Model") -> Deployment:
    """Return the graph from pairs to the energy's slopes, and the host that turns the slopes into forces."""
    from ._graph_forces import force_graph

    graph = force_graph(model)
    return Deployment({"model": graph}, ethanol.molecules_in_motion(), _HOST, _of_forces(model, graph), unit="molecule")


def deploy_dynamics(
    model: "keras.Model", picoseconds: float = 10.0, temperature: float = 300.0, seed: int = 0
) -> Deployment:
    """Return the graph of ``deploy_forces`` and the host as it moves a molecule: an answer is a run of dynamics.

    Args:
        model: the trained potential.
        picoseconds: how long the run is.
        temperature: of its start, in kelvin.
        seed: of the velocities at its start.
    """
    from ._graph_dynamics import STEP_FS, thermal_start
    from ._graph_forces import force_graph

    graph = force_graph(model)
    of_element = dict(zip(ethanol.NUMBERS.tolist(), ethanol.MASSES.tolist(), strict=True))
    steps = round(1000 * picoseconds / STEP_FS)
    dynamics = {
        "steps": steps,
        "step_fs": STEP_FS,
        "masses": [of_element[element] for element in ethanol.ELEMENTS],
    }
    settings = {**_of_forces(model, graph), "dynamics": dynamics}
    return Deployment(
        {"model": graph}, thermal_start(model, temperature, seed), _HOST, settings, unit="step", units=steps
    )


def _of_forces(model: "keras.Model", graph: "keras.Model") -> dict[str, Any]:
    """Return the host's settings for a potential."""
    from ._graph_forces import pair_settings

    settings = {"elements": list(ethanol.ELEMENTS), "hydrogens": None, "max_atoms": ethanol.ATOMS}
    outputs = ["forces", "energy"]
    return {**settings, **_geometry(model, graph), "outputs": outputs, "pairs": pair_settings(model)}


def _geometry(model: "keras.Model", graph: "keras.Model") -> dict[str, Any]:
    basis: Any = model.get_layer("radial")
    names = [tensor.name for tensor in graph.inputs]
    return {"basis": basis.count, "cutoff": basis.cutoff, "inputs": names}


def around_training(model: "keras.Model", steps: int) -> "list[keras.callbacks.Callback]":
    """Return what fits a potential's pairs before its network is trained, and equalizes the network afterwards."""
    from ._graph_equalize import Equalize
    from ._graph_pairs import FitPairs

    def data() -> Dataset:
        return ethanol.ethanol_forces().train

    return [FitPairs(data), Equalize(data)]


def cross_validate_solvation(size: str = "edge", seed: int = 0, folds: Sequence[int] = range(5)) -> list[float]:
    """Train on four folds of FreeSolv and test on the fifth, each in turn; return the errors in kcal/mol."""
    from ._training import train

    return [
        _solvation_error(train(replace(SOLVATION, task=functools.partial(freesolv.freesolv, fold)), size, seed), fold)
        for fold in folds
    ]


def measure_solvation(model: "keras.Model") -> dict[str, float]:
    """Return the errors over five folds, those of linear models among them.

    The model is that of fold 0; for the other four one is trained at the edge size with seed 0, in minutes.
    """
    import numpy as np

    from ._graph_baselines import solvation_baselines

    errors = [_solvation_error(model, 0), *cross_validate_solvation(folds=range(1, freesolv.FOLDS))]
    found = {
        "mean of 5 folds (kcal/mol)": float(np.mean(errors)),
        "deviation (kcal/mol)": float(np.std(errors, ddof=1)),
    }
    baselines = [solvation_baselines(fold) for fold in range(freesolv.FOLDS)]
    found |= {
        f"{name}, mean of 5 folds": float(np.mean([of_fold[name] for of_fold in baselines])) for name in baselines[0]
    }
    return found


def _solvation_error(model: "keras.Model", fold: int) -> float:
    from ._training import outputs_of

    task = freesolv.freesolv(fold)
    assert task.metric is not None and task.test.labels is not None
    return task.metric.measure(outputs_of(model, task.test), task.test.labels)


def measure_gap(model: "keras.Model") -> dict[str, float]:
    """Return what simpler models reach on the same molecules."""
    from ._graph_baselines import gap_baselines

    return dict(gap_baselines())


def measure_forces(model: "keras.Model") -> dict[str, float]:
    """Return the error of the energy, and what simpler models reach on the same frames."""
    from ._graph_baselines import force_baselines
    from ._task import mean_absolute_error
    from ._training import outputs_of

    test = ethanol.ethanol_forces().test
    assert isinstance(test.labels, dict)
    energy = mean_absolute_error(outputs_of(model, test)["energy"], test.labels["energy"])
    basis: Any = model.get_layer("radial")
    return {"energy mean absolute error (eV)": energy, **force_baselines(basis.count, basis.cutoff)}


SCHNET_GAP = Experiment(
    "schnet-qm9-gap",
    "SchNet, 64 features",
    build_schnet_gap,
    qm9.qm9_gap,
    {
        "edge": Schedule(
            epochs=44, batch_size=64, learning_rate=4e-3, warmup=0.05, samples_per_epoch=12_800, clip_norm=10.0
        ),
        "full": Schedule(epochs=300, batch_size=256, learning_rate=1e-3, warmup=0.02, clip_norm=10.0),
    },
    deploy=deploy_gap,
    measures=measure_gap,
    bar=0.20,
)
PAINN_GAP = Experiment(
    "painn-qm9-gap",
    "PaiNN, 48 features",
    build_painn_gap,
    qm9.qm9_gap,
    {
        "edge": Schedule(
            epochs=24, batch_size=64, learning_rate=4e-3, warmup=0.05, samples_per_epoch=12_800, clip_norm=10.0
        ),
        "full": Schedule(epochs=300, batch_size=256, learning_rate=1e-3, warmup=0.02, clip_norm=10.0),
    },
    deploy=deploy_gap,
    measures=measure_gap,
)
SCHNET_FORCES = Experiment(
    "schnet-ethanol-forces",
    "SchNet potential, 48 features",
    build_schnet_forces,
    ethanol.ethanol_forces,
    {
        "edge": Schedule(epochs=150, batch_size=8, learning_rate=1e-2, warmup=0.05, clip_norm=10.0),
        "full": Schedule(epochs=3000, batch_size=32, learning_rate=1e-3, warmup=0.01, clip_norm=10.0),
    },
    deploy=deploy_forces,
    measures=measure_forces,
    callbacks=around_training,
    bar=0.022,
)
SOLVATION = Experiment(
    "mpnn-freesolv",
    "Message passing over bonds, 64 features",
    build_solvation,
    freesolv.freesolv,
    {
        "edge": Schedule(epochs=120, batch_size=32, learning_rate=2e-3, warmup=0.05, weight_decay=0.01),
        "full": Schedule(epochs=300, batch_size=32, learning_rate=1e-3, warmup=0.05, weight_decay=0.01),
    },
    measures=measure_solvation,
    bar=1.1,
)
ARCHITECTURE = Architecture("graph", "Graph network", (SCHNET_GAP, SCHNET_FORCES, PAINN_GAP, SOLVATION))
