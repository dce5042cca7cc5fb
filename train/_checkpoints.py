"""The trained edge models that come with edgewright, each with the record of how it was made.

``checkpoints/ARCHITECTURE/EXPERIMENT.keras`` is the model; the JSON file beside it holds command, seed, versions, the
SHA-256 of the training data and the metric.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._config_scan import import_own_layers

if TYPE_CHECKING:
    import keras

_FOLDER = Path(__file__).with_name("checkpoints")


def shipped(architecture: str, experiment: str) -> Path | None:
    """Return the file of a shipped model, or None when there is none."""
    path = _FOLDER / architecture / f"{experiment}.keras"
    return path if path.exists() else None


def record_of(checkpoint: Path) -> dict[str, Any]:
    """Return how a shipped model was made."""
    return dict(json.loads(checkpoint.with_suffix(".json").read_text(encoding="utf-8")))


def load(checkpoint: Path) -> "keras.Model":
    """Return a model that edgewright itself saved: its layers are built into Keras or into train/."""
    import keras

    import_own_layers(checkpoint)
    model: keras.Model = keras.saving.load_model(checkpoint, compile=False)
    return model
