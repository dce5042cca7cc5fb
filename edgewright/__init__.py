"""edgewright gets a trained Keras model onto an edge device and proves that it fits there.

The public functions are ``compress``, ``quantize``, ``export``, ``validate``, ``measure``, ``compare``, ``inspect``,
``predict``, ``calibrate``, ``profile_operations`` and ``split``; on registered devices ``measure_there``, ``sweep`` and
``recalibrate``. The folders of the same names are imported with ``from``: ``from edgewright.compress import
load_recipe``.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .lazy import lazily

if TYPE_CHECKING:
    from .api import compress, export, quantize, validate
    from .calibrating import calibrate
    from .figures import Figure, How
    from .inspecting import inspect
    from .measuring import compare, measure
    from .measuring_there import measure_there
    from .predicting import predict
    from .profiling import profile_operations
    from .recalibrating import recalibrate
    from .report import Report
    from .splitting import split
    from .sweeping import sweep
    from .train import Dataset, Task

__version__ = "0.1.0"
__all__ = [
    "Dataset",
    "Figure",
    "How",
    "Report",
    "Task",
    "calibrate",
    "compare",
    "compress",
    "export",
    "inspect",
    "measure",
    "measure_there",
    "predict",
    "profile_operations",
    "quantize",
    "recalibrate",
    "split",
    "sweep",
    "validate",
]

_HOMES = {
    "api": ("compress", "export", "quantize", "validate"),
    "calibrating": ("calibrate",),
    "figures": ("Figure", "How"),
    "inspecting": ("inspect",),
    "measuring": ("compare", "measure"),
    "measuring_there": ("measure_there",),
    "predicting": ("predict",),
    "profiling": ("profile_operations",),
    "recalibrating": ("recalibrate",),
    "report": ("Report",),
    "splitting": ("split",),
    "sweeping": ("sweep",),
    "train": ("Dataset", "Task"),
}
# ``edgewright --help`` then needs neither NumPy nor pydantic.
__getattr__, __dir__ = lazily(__name__, _HOMES)


class _FrontDoor(ModuleType):
    """Keeps the public names where importing a folder of the same name would replace them."""

    def __setattr__(self, name: str, value: Any) -> None:
        # Importing a folder sets its name here: compress and export stay the functions.
        if not (isinstance(value, ModuleType) and name in __all__):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _FrontDoor
