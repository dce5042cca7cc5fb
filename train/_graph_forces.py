"""A SchNet potential from molecules to energies and forces, and what of it is deployed."""

import keras

from ._graph_ethanol import ATOMS, ELEMENTS
from ._graph_geometry import CosineCutoff, PairGeometry, RadialBasis
from ._graph_schnet import PairForces, SchNetPotential

# In eV: energies of ethanol at 500 K, above the relaxed molecule's, are the mean and some tenths of it.
MEAN, SCALE = 0.4, 1.0


def force_model(units: int, interactions: int, count: int, cutoff: float) -> keras.Model:
    """Return a model from ``atoms``, ``positions`` and ``mask`` to ``energy`` in eV and ``forces`` in eV / angstrom."""
    widths = {"atoms": len(ELEMENTS), "positions": 3, "mask": 1}
    inputs = {name: keras.Input((ATOMS, width), name=name) for name, width in widths.items()}
    distances, directions, pairs = PairGeometry(name="pairs")([inputs["positions"], inputs["mask"]])
    radial = RadialBasis(count, cutoff, slope=True, name="radial")(distances)
    ends = CosineCutoff(cutoff, slope=True, name="cutoff")([distances, pairs])
    potential = SchNetPotential(units, interactions, SCALE, name="potential")
    energy, tension = potential([inputs["atoms"], inputs["mask"], *radial, *ends])
    outputs = {
        "energy": keras.layers.Rescaling(1.0, MEAN, name="energy")(energy),
        "forces": PairForces(name="forces")([tension, directions]),
    }
    return keras.Model(inputs, outputs, name="schnet_forces")


def force_graph(model: keras.Model) -> keras.Model:
    """Return the trained potential behind the geometry: it gives ``energy`` and ``tension``, the slopes by distance.

    The host turns slopes into forces: there a force is summed in float, where int8 would round each sum of large pulls
    that nearly cancel.
    """
    layers = {layer.name: layer for layer in model.layers}
    count = layers["radial"].count
    widths = {"radial": count, "radial_slope": count, "cutoff": 1, "cutoff_slope": 1}
    shapes: dict[str, tuple[int, ...]] = {"atoms": (ATOMS, len(ELEMENTS)), "mask": (ATOMS, 1)}
    shapes.update({name: (ATOMS, ATOMS, width) for name, width in widths.items()})
    inputs = {name: keras.Input(shape, name=name) for name, shape in shapes.items()}
    energy, tension = layers["potential"](list(inputs.values()))
    outputs = {"energy": layers["energy"](energy), "tension": keras.layers.Identity(name="tension")(tension)}
    return keras.Model(inputs, outputs, name="schnet_forces_graph")
