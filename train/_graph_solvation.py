"""Message passing over bonds, from a molecule's atoms and bonds to a free energy of solvation.

Gilmer et al., "Neural message passing for quantum chemistry", 2017, arXiv 1704.01212, with a diagonal matrix for each
bond: a bond scales the features that pass it, as SchNet's filter does by distance, so that the same interaction serves.
"""

import keras

from ._graph_activations import silu
from ._graph_freesolv import BONDS, FEATURES, MAX_ATOMS
from ._graph_geometry import MaskedSum
from ._graph_schnet import Interaction

# The data set's mean and deviation, in kcal / mol.
MEAN, DEVIATION = -3.8, 3.84


def solvation_model(units: int, interactions: int, dropout: float, seed: int) -> keras.Model:
    """Return a model from ``atoms``, ``bonds`` and ``mask`` to ``energy`` ``[batch, 1]`` in kcal / mol."""
    inputs = {
        "atoms": keras.Input((MAX_ATOMS, FEATURES), name="atoms"),
        "bonds": keras.Input((MAX_ATOMS, MAX_ATOMS, len(BONDS) + 1), name="bonds"),
        "mask": keras.Input((MAX_ATOMS, 1), name="mask"),
    }
    x = keras.layers.Dense(units, use_bias=False, name="embedding")(inputs["atoms"])
    for number in range(1, interactions + 1):
        # Without a bias, what is no bond passes nothing.
        filters = keras.layers.Dense(units, use_bias=False, name=f"filter_{number}")(inputs["bonds"])
        x = Interaction(units, name=f"interaction_{number}")([x, filters])
    x = keras.layers.Dropout(dropout, seed=seed, name="dropout")(x)
    x = keras.layers.Dense(units, activation=silu, name="atomwise")(x)
    # An atom's share in a free energy adds up: the sum, not the mean.
    x = MaskedSum(0.1, name="readout")([x, inputs["mask"]])
    x = keras.layers.Dense(units, activation=silu, name="molecule")(x)
    x = keras.layers.Dense(1, name="standardised")(x)
    energy = keras.layers.Rescaling(DEVIATION, MEAN, name="energy")(x)
    return keras.Model(inputs, energy, name="solvation")
