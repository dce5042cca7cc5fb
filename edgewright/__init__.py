"""edgewright gets a trained Keras model onto an edge device and proves that it fits there.

The public functions are ``compress``, ``quantize``, ``export``, ``validate``, ``measure``, ``compare``, ``inspect``,
``predict``, ``calibrate``, ``profile_operations`` and ``split``; on registered devices ``measure_there``, ``sweep`` and
``recalibrate``. The folders of the same names are imported with ``from``: ``from edgewright.compress import
load_recipe``.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

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
    "Dataset": "train",
    "Figure": "figures",
    "How": "figures",
    "Report": "report",
    "Task": "train",
    "calibrate": "calibrating",
    "compare": "measuring",
    "compress": "api",
    "export": "api",
    "inspect": "inspecting",
    "measure": "measuring",
    "measure_there": "measuring_there",
    "predict": "predicting",
    "profile_operations": "profiling",
    "quantize": "api",
    "recalibrate": "recalibrating",
    "split": "splitting",
    "sweep": "sweeping",
    "validate": "api",
}


class _FrontDoor(ModuleType):
    """Imports a public name when it is asked for: ``edgewright --help`` then needs neither NumPy nor pydantic."""

    def __getattr__(self, name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{self.__name__}.{_HOMES[name]}"), name)
        super().__setattr__(name, value)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        # Importing a folder sets its name here: compress and export stay the functions.
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _FrontDoor
