"""Errors that a user can act on, each with the exit code that the command line ends with."""

import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any

# What pydantic's errors of a type ask for, and the beginnings of its other messages as ours.
_KINDS = {
    "missing": "a value",
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "finite_number": "a finite number",
    "string_type": "a text",
    "bool_type": "true or false",
}
_BEGINNINGS = {
    "Input should be less": "a number less",
    "Input should be greater": "a number greater",
    "Input should be a valid": "a",
    "Input should be": "one of",
    "String should match pattern": "a text that matches the pattern",
    "String should have": "a text of",
}


class EdgewrightError(Exception):
    """Base of every error that edgewright raises on purpose.

    The message says what was expected, what was received, and where (file, layer, format, device).
    """

    exit_code = 1


class GateFailed(EdgewrightError):
    """A model, artifact or measurement did not meet what was asked of it."""

    exit_code = 1


class InputError(EdgewrightError):
    """What the user handed in (a model, data, a recipe, an option) cannot be used."""

    exit_code = 2


class MissingRequirement(EdgewrightError):
    """The environment lacks something: a package, an extra, room on the disk, the right to write."""

    exit_code = 3


class DeviceError(EdgewrightError):
    """A device or the network to it did not answer as it should."""

    exit_code = 4


class Inconclusive(EdgewrightError):
    """A measurement was too noisy to decide."""

    exit_code = 5


def check_limit(name: str, value: float | None, *, zero: bool = False) -> None:
    """Raise InputError unless a limit is None or positive and finite; with ``zero``, nothing may be allowed too.

    >>> check_limit("max_latency_ms", 2.0)
    """
    if value is None or (math.isfinite(value) and (value > 0 or (zero and value == 0))):
        return
    least = "zero or a positive number" if zero else "a positive number"
    raise InputError(f"Expected {least} that is finite for {name}. Got: {value:g}.")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the known word closest to ``word``, or an empty string.

    >>> nearest("sparsty", ["sparsity", "scope"])
    " Did you mean 'sparsity'?"
    >>> nearest("zzz", ["sparsity"])
    ''
    """
    matches = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {matches[0]!r}?" if matches else ""


def shortened(value: Any, most: int = 120) -> str:
    """Return a value that was not expected, as Python writes it: the beginning, where that is long.

    >>> shortened("int9"), shortened([0] * 100, most=10)
    ("'int9'", '[0, 0, 0, ...')
    """
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}..."


def expected(found: Mapping[str, Any]) -> str:
    """Return what a value should have been, from one of the errors that pydantic tells of.

    >>> expected({"type": "less_than", "ctx": {"lt": 1.0}, "msg": "Input should be less than 1"})
    'a number less than 1'
    """
    message = str(found["msg"]).removeprefix("Value error, ").removesuffix(".")
    text = _KINDS.get(found["type"]) or message.removeprefix("expected ")
    for begin, instead in _BEGINNINGS.items():
        if text.startswith(begin):
            text = instead + text.removeprefix(begin)
    return text
