"""A device profile as the TOML text that loads as the same profile."""

import json
from collections.abc import Iterator
from typing import Any

from ._profile import Profile


def profile_toml(profile: Profile, notes: tuple[str, ...] = ()) -> str:
    """Return the text of a profile file: each value's source as a key of ``sources``, each target in full.

    Args:
        profile: the profile.
        notes: sentences that go to the top as comments.
    """
    document = profile.model_dump(mode="json", exclude_none=True)
    document.pop("sources")
    keys: dict[str, str] = {}
    _name_sources(document, keys)
    lines = [f"# {line}" for note in notes for line in note.splitlines()]
    for name in ("name", "title"):
        lines.append(f"{name} = {_value(document.pop(name))}")
    lines += ["", "[sources]", *(f"{key} = {_value(text)}" for text, key in keys.items())]
    for name, table in document.items():
        for each in table if isinstance(table, list) else [table]:
            lines += ["", *_table(name, each, isinstance(table, list))]
    return "\n".join(lines) + "\n"


def _name_sources(value: Any, keys: dict[str, str]) -> None:
    """Replace the source of each value by its key, and collect keys by text."""
    if isinstance(value, dict) and "value" in value and "source" in value:
        value["source"] = keys.setdefault(value["source"], f"source-{len(keys) + 1}")
    elif isinstance(value, dict | list):
        for child in value.values() if isinstance(value, dict) else value:
            _name_sources(child, keys)


def _table(name: str, table: dict[str, Any], one_of_many: bool) -> Iterator[str]:
    yield f"[[{name}]]" if one_of_many else f"[{name}]"
    deeper = {key: value for key, value in table.items() if isinstance(value, dict) and "value" not in value}
    yield from (f"{key} = {_value(value)}" for key, value in table.items() if key not in deeper)
    for key, value in deeper.items():
        yield ""
        yield from _table(f"{name}.{key}", value, False)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(child)}" for key, child in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    # JSON's strings, numbers and booleans are TOML's, but for the one control character that JSON leaves as it is.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
