"""What all tests share: tflite-runtime has no wheel for Python 3.12 and later, and what needs it is skipped there."""

import sys

import hypothesis
import pytest

# A busy machine is no failure of a property.
hypothesis.settings.register_profile("edgewright", deadline=None)
hypothesis.settings.load_profile("edgewright")

ABSENT = {"tflite_runtime"} if sys.version_info >= (3, 12) else set()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test of one runtime where that runtime does not exist for this Python."""
    name = getattr(item, "callspec", None) and item.callspec.params.get("name")  # type: ignore[attr-defined]
    if name in ABSENT and item.module.__name__.endswith("test_runner"):  # type: ignore[attr-defined]
        pytest.skip(f"{name} has no wheel for Python {sys.version_info.major}.{sys.version_info.minor}")


def of_runtimes_here(checks):
    """Return the checks of the runtimes that exist for this Python."""
    return [made for made in checks if made["runtime"] not in ABSENT]
