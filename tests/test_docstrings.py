"""The examples in docstrings run."""

import doctest
import importlib
import pkgutil

import pytest

import edgewright

FOLDERS = ("train", "compress", "export", "runtimes", "devices")


def _modules() -> list[str]:
    names = [f"edgewright.{module.name}" for module in pkgutil.iter_modules(edgewright.__path__)]
    for folder in FOLDERS:
        package = importlib.import_module(f"edgewright.{folder}")
        names += [f"{package.__name__}.{module.name}" for module in pkgutil.iter_modules(package.__path__)]
    return sorted(set(names))


@pytest.mark.parametrize("name", _modules())
def test_examples_hold(name):
    """What a docstring shows is what the code does."""
    assert doctest.testmod(importlib.import_module(name)).failed == 0
