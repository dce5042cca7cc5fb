"""The operations that the Edge TPU takes, by the published table; ``edgetpu_compiler`` decides in the end."""

import json
from functools import cache
from importlib import resources


@cache
def operator_table() -> dict[str, str]:
    """Return the operations of the Edge TPU in TFLite's terms, each with its limitation in words, or ""."""
    text = (resources.files(f"{__package__}.profiles") / "edgetpu_ops.json").read_text(encoding="utf-8")
    return {entry["tflite_builtin"]: entry["limitation"] for entry in json.loads(text)["ops"]}
