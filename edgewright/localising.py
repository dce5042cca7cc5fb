"""Which layer goes wrong first in an artifact that computes something else than its Keras model.

The model is converted once more with every layer's output as an output of the file, in the same format and precision,
run, and compared layer by layer, in the model's order.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .compress._activations import Activations
from .errors import InputError
from .export import convert, freeze
from .held import temporary_folder
from .hosting import batches_of
from .runtimes import run_artifact
from .train import Dataset
from .train._agreement import determination_percent
from .train._training import outputs_of

if TYPE_CHECKING:
    import keras

# Below this share of a layer's variance it is taken for wrong; above the other for right.
_WRONG_PERCENT, _RIGHT_PERCENT = 50.0, 90.0
_SAMPLES = 16


def first_wrong_layer(
    model: "keras.Model",
    format: str,
    precision: str,
    runtime: str,
    samples: Mapping[str, np.ndarray],
    activations: Activations | None = None,
) -> str:
    """Return a sentence on where the model's artifact first goes wrong, or on why that is not known.

    Args:
        model: the Keras model that was converted.
        format, precision: of the artifact.
        runtime: what runs it.
        samples: representative inputs, ``[samples, ...]`` by input name.
        activations: how its activations are quantized, where one graph with ranges is converted.
    """
    import keras

    layers = _outputs_of_layers(model)
    if not layers:
        return "Which layer goes wrong is not known: the model has no graph of layers."
    probe = keras.Model(model.inputs, list(layers.values()), name=model.name)
    few = Dataset(dict(samples)).take(_SAMPLES)
    with temporary_folder("probe") as folder:
        path, reason = _converted(probe, format, precision, samples, activations, folder)
        run = run_artifact(path, runtime, few.inputs) if path else None
        reason = reason or (run.reason if run else "")
        if run is None or not run.ok:
            return f"Which layer goes wrong is not known: with every layer's output read out, {reason}"
        received = run.outputs
    expected = outputs_of(probe, few)
    agreed = [
        (layer, determination_percent(expected[name], received[name]) if np.isfinite(received[name]).all() else -np.inf)
        for layer, name in zip(layers, expected, strict=True)
    ]
    return _sentence(agreed)


def _sentence(agreed: list[tuple[str, float]]) -> str:
    for place, (name, percent) in enumerate(agreed):
        if percent < _WRONG_PERCENT:
            before = min((each for _, each in agreed[:place]), default=100.0)
            return (
                f"Layer {name!r} goes wrong first: its output agrees with Keras to {percent:.3g} % of its variance, "
                f"those of the {place} layers before it to {before:.3g} % or more."
            )
    least = min(agreed, key=lambda pair: pair[1])
    if least[1] < _RIGHT_PERCENT:
        return f"No single layer goes wrong: the errors add up; the worst is {least[0]!r} with {least[1]:.3g} %."
    return "With every layer's output read out it computes right: what the converter or the runtime fuses goes wrong."


def _outputs_of_layers(model: "keras.Model") -> dict[str, Any]:
    """Return the symbolic output of each layer that has one float output, in the order of computation."""
    import keras

    found = {}
    for layer in getattr(model, "operations", ()):
        if not isinstance(layer, keras.layers.InputLayer) and layer._inbound_nodes:
            outputs = keras.tree.flatten(layer._inbound_nodes[-1].output_tensors)
            if len(outputs) == 1 and "float" in outputs[0].dtype:
                found[layer.name] = outputs[0]
    return found


def _converted(
    probe: "keras.Model",
    format: str,
    precision: str,
    samples: Mapping[str, np.ndarray],
    activations: Activations | None,
    folder: Path,
) -> tuple[Path | None, str]:
    """Return the file of the probe, or why there is none."""
    try:
        ranges = activations.ranges_of(probe, partial(batches_of, samples)) if activations else None
        frozen = freeze(probe, folder / "frozen", ranges)
    except InputError as error:
        return None, str(error)
    np.savez(folder / "calibration.npz", **samples)
    made = convert(frozen, format, precision, folder / "made", folder / "calibration.npz")
    return (made.artifact.path, "") if made.artifact else (None, made.reason)
