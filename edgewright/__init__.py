"""edgewright gets a trained Keras model onto an edge device and proves that it fits there.

The public functions are ``compress``, ``export`` and ``validate``; the folders of the same names are imported with
``from``: ``from edgewright.compress import load_recipe``.
"""

from . import compress as _compress  # noqa: F401 - imported first: the functions then take the folders' names
from . import export as _export  # noqa: F401
from .api import compress, export, validate
from .figures import Figure, How
from .report import Report
from .train import Dataset, Task

__version__ = "0.1.0"
__all__ = ["Dataset", "Figure", "How", "Report", "Task", "compress", "export", "validate"]
