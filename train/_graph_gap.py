"""SchNet and PaiNN from molecules to one number each, and what of them is deployed: the graph behind the geometry."""

from collections.abc import Mapping
from typing import Any

import keras

from ._graph_activations import silu
from ._graph_geometry import CosineCutoff, MaskedSum, PairGeometry, RadialBasis
from ._graph_painn import VectorMessage, VectorUpdate
from ._graph_qm9 import ELEMENTS, HYDROGENS, MAX_HEAVY
from ._graph_schnet import ContinuousFilter, Interaction

FEATURES = len(ELEMENTS) + HYDROGENS + 1
# The training set's mean and deviation of the gap, in eV: the network itself computes in the standardised unit.
MEAN, DEVIATION = 6.86, 1.284
Layers = Mapping[str, keras.layers.Layer]


def gap_model(kind: str, units: int, interactions: int, count: int, cutoff: float) -> keras.Model:
    """Return a model from ``atoms``, ``positions`` and ``mask`` to ``gap`` ``[batch, 1]`` in eV.

    Args:
        kind: "schnet" or "painn".
        units: features of an atom.
        interactions: how often atoms exchange messages.
        count: radial functions.
        cutoff: where interactions end, in angstrom.
    """
    widths = {"atoms": FEATURES, "positions": 3, "mask": 1}
    inputs = {name: keras.Input((MAX_HEAVY, width), name=name) for name, width in widths.items()}
    distances, directions, pairs = PairGeometry(name="pairs")([inputs["positions"], inputs["mask"]])
    fed = {
        "atoms": inputs["atoms"],
        "mask": inputs["mask"],
        "radial": RadialBasis(count, cutoff, name="radial")(distances),
        "cutoff": CosineCutoff(cutoff, name="cutoff")([distances, pairs]),
        "directions": directions,
    }
    made = _schnet_layers(units, interactions) if kind == "schnet" else _painn_layers(units, interactions)
    layers = {layer.name: layer for layer in (*made, *_readout_layers(units))}
    return keras.Model(inputs, _gap(layers, fed), name=f"{kind}_gap")


def gap_graph(model: keras.Model) -> keras.Model:
    """Return the trained layers behind the geometry, with the host's ``radial``, ``cutoff``, ... as inputs."""
    layers = {layer.name: layer for layer in model.layers}
    widths: dict[str, int] = {"radial": layers["radial"].count, "cutoff": 1}
    if "message_1" in layers:
        widths["directions"] = 3
    shapes: dict[str, tuple[int, ...]] = {"atoms": (MAX_HEAVY, FEATURES), "mask": (MAX_HEAVY, 1)}
    shapes.update({name: (MAX_HEAVY, MAX_HEAVY, width) for name, width in widths.items()})
    fed = {name: keras.Input(shape, name=name) for name, shape in shapes.items()}
    return keras.Model(fed, _gap(layers, fed), name=f"{model.name}_graph")


def _schnet_layers(units: int, interactions: int) -> list[keras.layers.Layer]:
    layers: list[keras.layers.Layer] = [keras.layers.Dense(units, use_bias=False, name="embedding")]
    for number in range(1, interactions + 1):
        layers.append(ContinuousFilter(units, name=f"filter_{number}"))
        layers.append(Interaction(units, name=f"interaction_{number}"))
    return layers


def _painn_layers(units: int, interactions: int) -> list[keras.layers.Layer]:
    layers: list[keras.layers.Layer] = [keras.layers.Dense(units, use_bias=False, name="embedding")]
    for number in range(1, interactions + 1):
        layers.append(VectorMessage(units, name=f"message_{number}"))
        layers.append(VectorUpdate(units, last=number == interactions, name=f"update_{number}"))
    return layers


def _readout_layers(units: int) -> list[keras.layers.Layer]:
    return [
        keras.layers.Dense(units, activation=silu, name="atomwise"),
        MaskedSum(1 / MAX_HEAVY, name="readout"),
        keras.layers.Dense(units, activation=silu, name="molecule"),
        keras.layers.Dense(1, name="standardised"),
        keras.layers.Rescaling(DEVIATION, MEAN, name="gap"),
    ]


def _gap(layers: Layers, fed: Mapping[str, Any]) -> Any:
    """Return the gap of atoms and their pairs."""
    x = layers["embedding"](fed["atoms"])
    vectors: list[Any] = []
    for name in layers:  # in the order in which they are called: some may have been removed
        kind, _, number = name.rpartition("_")
        if kind == "interaction":
            x = layers[name]([x, layers[f"filter_{number}"]([fed["radial"], fed["cutoff"]])])
        elif kind == "message":
            x, *vectors = layers[name]([x, fed["radial"], fed["cutoff"], fed["directions"], *vectors])
        elif kind == "update":
            x, *vectors = layers[name]([x, *vectors])
    x = layers["molecule"](layers["readout"]([layers["atomwise"](x), fed["mask"]]))
    return layers["gap"](layers["standardised"](x))
