"""A SchNet potential from molecules to energies and forces, and what of it is deployed."""

from typing import Any

import keras

from ._graph_ethanol import ATOMS, ELEMENTS
from ._graph_geometry import CosineCutoff, PairGeometry, RadialBasis
from ._graph_pairs import PairPotential
from ._graph_schnet import PairForces, SchNetPotential

SCALE = 0.3  # eV: about what energies spread by


def force_model(units: int, interactions: int, count: int, cutoff: float) -> keras.Model:
    """Return a model from ``atoms``, ``positions`` and ``mask`` to ``energy`` in eV and ``forces`` in eV / angstrom.

    Both are those of a pair potential and of a network that adds what pairs do not explain.
    """
    widths = {"atoms": len(ELEMENTS), "positions": 3, "mask": 1}
    inputs = {name: keras.Input((ATOMS, width), name=name) for name, width in widths.items()}
    distances, directions, pairs = PairGeometry(name="pairs")([inputs["positions"], inputs["mask"]])
    radial = RadialBasis(count, cutoff, slope=True, name="radial")(distances)
    ends = CosineCutoff(cutoff, slope=True, name="cutoff")([distances, pairs])
    potential = SchNetPotential(units, interactions, SCALE, name="potential")
    energy, *tensions = potential([inputs["atoms"], inputs["mask"], *radial, *ends])
    of_pairs, tension_of_pairs = PairPotential(name="pair_potential")([inputs["atoms"], *radial, *ends])
    tension = keras.layers.Add(name="tension")([*tensions, tension_of_pairs])
    outputs = {
        "energy": keras.layers.Add(name="energy")([energy, of_pairs]),
        "forces": PairForces(name="forces")([tension, directions]),
    }
    return keras.Model(inputs, outputs, name="schnet_forces")


def force_graph(model: keras.Model) -> keras.Model:
    """Return the trained network behind the geometry: ``energy``, and by each interaction its slopes by distance.

    The slopes are ``tension_1``, ``tension_2``, ... The host adds them up with the pair potential's and turns them into
    forces: there the hardest pulls are computed and summed in float, where int8 would round each of a sum of large
    terms that nearly cancel.
    """
    layers: dict[str, Any] = {layer.name: layer for layer in model.layers}
    count = layers["radial"].count
    widths = {"radial": count, "radial_slope": count, "cutoff": 1, "cutoff_slope": 1}
    shapes: dict[str, tuple[int, ...]] = {"atoms": (ATOMS, len(ELEMENTS)), "mask": (ATOMS, 1)}
    shapes.update({name: (ATOMS, ATOMS, width) for name, width in widths.items()})
    inputs = {name: keras.Input(shape, name=name) for name, shape in shapes.items()}
    energy, *tensions = layers["potential"](list(inputs.values()))
    names = [f"tension_{number}" for number in range(1, len(tensions) + 1)]
    outputs = {
        name: keras.layers.Identity(name=name)(tensor)
        for name, tensor in zip(["energy", *names], [energy, *tensions], strict=True)
    }
    return keras.Model(inputs, outputs, name="schnet_forces_graph")


def pair_settings(model: keras.Model) -> dict[str, Any]:
    """Return the coefficients and the offset of a model's pair potential, as the host takes them."""
    pairs: Any = model.get_layer("pair_potential")
    return {"coefficients": pairs.coefficients.numpy().tolist(), "offset": float(pairs.offset.numpy()[0])}
