"""What was fitted to measurements of devices and is shipped: ``profiles/speeds.json``, read without NumPy."""

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from ._profile import Calibration


@cache
def document() -> Mapping[str, Any]:
    """Return what was fitted: what is expected of any processor, and the speeds of devices; see ``speeds.json``."""
    text = (resources.files(f"{__package__}.profiles") / "speeds.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


@cache
def shipped_calibrations(device: str) -> tuple[Calibration, ...]:
    """Return what was fitted to published measurements of a shipped device; nothing for any other."""
    return tuple(Calibration(**entry["calibration"]) for entry in document()["speeds"] if entry["device"] == device)
