"""Precisions whose rates nobody published: a profile says which precision of the format each is like."""

from typing import Any

from ..errors import InputError

_REQUIRED = ("format", "precisions", "like", "interval")


def resolve_nearest(document: dict[str, Any], where: str) -> None:
    """Replace each ``nearest`` entry, for precisions whose rates nobody published, by targets.

    It names its ``format``, its ``precisions`` and ``like``, the precision whose target they take; what else it holds,
    the wider interval at least, stands in place of that target's values.
    """
    targets = document.get("targets", [])
    for entry in document.pop("nearest", []):
        for key in _REQUIRED:
            if not isinstance(entry, dict) or key not in entry:
                raise InputError(f"{where}: expected the key {key} in every [[nearest]]. Got: {entry}.")
        if not isinstance(entry["precisions"], list):
            raise InputError(f"{where}: expected precisions as a list. Got: {entry['precisions']!r}.")
        own = {key: value for key, value in entry.items() if key not in ("precisions", "like")}
        model = [
            target
            for target in targets
            if (target.get("format"), target.get("precision")) == (entry["format"], entry["like"])
        ]
        if not model:
            raise InputError(
                f"{where}: expected a target {entry['format']} {entry['like']}, which {', '.join(entry['precisions'])} "
                "is like. Got: none."
            )
        taken = {
            key: {**value, "how": "derived"} if isinstance(value, dict) and "value" in value else value
            for key, value in model[0].items()
        }
        for precision in entry["precisions"]:
            targets.append({**taken, "fitted_rows": 0, **own, "precision": precision})
