"""Parts of TF-MOT that know no Keras version: schedules, masks, initial centroids."""

import importlib
import os
from typing import Any


def tfmot(module: str) -> Any:
    """Import a module of TF-MOT's core, such as "sparsity.keras.pruning_impl".

    Importing TF-MOT asks for Keras 2 in the whole process (``TF_USE_LEGACY_KERAS``); that is undone.
    """
    legacy = os.environ.get("TF_USE_LEGACY_KERAS")
    try:
        return importlib.import_module(f"tensorflow_model_optimization.python.core.{module}")
    finally:
        if legacy is None:
            os.environ.pop("TF_USE_LEGACY_KERAS", None)
