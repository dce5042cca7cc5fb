"""A recipe: the ordered steps that compress a model, as data that loads, saves and hashes."""

import hashlib
import itertools
import json
import math
import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import pydantic

from ..errors import InputError, expected, nearest, shortened
from ..files import read_text
from . import _technique

# Processing units that ask for more than their format does.
EDGE_TPU, TENSORRT = "edgetpu", "tensorrt"
UNITS = (EDGE_TPU, TENSORRT)


@dataclass(frozen=True)
class Step:
    """One technique with its parameters, every one of them resolved.

    Raises:
        InputError: no such technique, or parameters that are not its own.
    """

    technique: str
    parameters: _technique.Parameters

    def __post_init__(self) -> None:
        kind = _technique.get(self.technique).parameters
        if not isinstance(self.parameters, kind):
            raise InputError(
                f'Expected edgewright.compress.get("{self.technique}").parameters(...) as the parameters of a step '
                f"{self.technique}. Got: {_told(self.parameters)}."
            )

    def resolved(self) -> dict[str, Any]:
        """Return the step as plain data."""
        return {"technique": self.technique, **self.parameters.model_dump(mode="json")}


@dataclass(frozen=True)
class Recipe:
    """Ordered steps, with a name and a sentence about what they are for.

    Attributes:
        name, description: for people.
        steps: in the order in which they are applied.
        unit: what int8 is exported for: "edgetpu" (TFLite graphs are rewritten to operations that it has), "tensorrt"
            (ranges are symmetric, and ONNX has no unsigned integers); neither when empty.
        max_drop: how much of the metric an artifact may lose against the original model, in points, dB, or percent of a
            metric that is neither (``Metric.lost``); one that loses more is not handed over. None allows any.

    Raises:
        InputError: no steps of the class Step, steps that undo each other, an unknown unit, a bad allowance.
    """

    name: str
    description: str
    steps: tuple[Step, ...]
    unit: str = ""
    max_drop: float | None = None

    def __post_init__(self) -> None:
        if self.unit not in ("", *UNITS):
            raise InputError(f"Expected unit = one of {', '.join(UNITS)}. Got: {self.unit!r}.")
        is_number = isinstance(self.max_drop, int | float) and not isinstance(self.max_drop, bool)
        if self.max_drop is not None and not (is_number and 0 <= self.max_drop < math.inf):
            raise InputError(f"Expected max_drop = a number of at least 0. Got: {self.max_drop!r}.")
        if not isinstance(self.steps, tuple) or not all(isinstance(step, Step) for step in self.steps):
            raise InputError(f"Expected steps as a tuple of edgewright.compress.Step. Got: {_told(self.steps)}.")
        precisions = [step.technique for step in self.steps if _technique.get(step.technique).precision]
        if len(precisions) > 1:
            raise InputError(f"Expected at most one step that sets the precision. Got: {', '.join(precisions)}.")
        for earlier, later in itertools.pairwise(self.steps):
            stages = [_technique.STAGES.index(_technique.get(step.technique).stage) for step in (earlier, later)]
            if stages[0] > stages[1]:
                raise InputError(
                    "Expected steps that change shapes, then values, then the precision: a later step would undo an "
                    f"earlier one. Got: {later.technique} after {earlier.technique}."
                )

    def resolved(self) -> dict[str, Any]:
        """Return the recipe as plain data with every default written out."""
        return {
            "name": self.name,
            "description": self.description,
            "unit": self.unit,
            "max_drop": self.max_drop,
            "steps": [step.resolved() for step in self.steps],
        }

    @property
    def sha256(self) -> str:
        """Digest of the resolved steps, and of unit and allowance where given; name and description do not enter."""
        steps = json.dumps([step.resolved() for step in self.steps], sort_keys=True)
        allowed = "" if self.max_drop is None else f" {self.max_drop}"
        return hashlib.sha256(f"{steps}{self.unit}{allowed}".encode()).hexdigest()

    @property
    def precisions(self) -> tuple[str, ...]:
        """The precisions to export: float32, and what the steps ask for."""
        asked = {_technique.get(step.technique).precision for step in self.steps} - {"", "float32"}
        return ("float32", *sorted(asked))

    @property
    def calibration_samples(self) -> int:
        """How many samples the exporters calibrate on; 0 when the recipe quantizes nothing."""
        setting = [step.parameters for step in self.steps if _technique.get(step.technique).precision]
        return max((int(getattr(parameters, "samples", 0)) for parameters in setting), default=0)

    def to_toml(self) -> str:
        """Return the resolved recipe as TOML that ``load_recipe`` reads back to an equal recipe."""
        lines = [f"name = {json.dumps(self.name)}", f"description = {json.dumps(self.description)}"]
        lines += [f"unit = {json.dumps(self.unit)}"] if self.unit else []
        lines += [f"max_drop = {json.dumps(self.max_drop)}"] if self.max_drop is not None else []
        for step in self.steps:
            lines += ["", "[[steps]]"]
            lines += [f"{key} = {json.dumps(value)}" for key, value in step.resolved().items() if value is not None]
        return "\n".join(lines) + "\n"


def shipped_recipes() -> tuple[str, ...]:
    """Return the names of the recipes that come with edgewright."""
    files = resources.files(f"{__package__}.recipes").iterdir()
    return tuple(sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml")))


def load_recipe(source: "str | Path | Recipe") -> Recipe:
    """Return a recipe by the name of a shipped one, or from a TOML file.

    Raises:
        InputError: no such recipe; not TOML; an unknown technique or key (the nearest is named); a bad value.
    """
    if isinstance(source, Recipe):
        return source
    if not isinstance(source, str | Path):
        raise InputError(
            "Expected a recipe: the name of a shipped one, the path of a .toml file, or an edgewright.compress.Recipe. "
            f"Got: {_told(source)}."
        )
    if str(source) in shipped_recipes():
        text = (resources.files(f"{__package__}.recipes") / f"{source}.toml").read_text(encoding="utf-8")
        return parse_recipe(text, where=f"recipe {source}")
    path = Path(source)
    if path.suffix != ".toml" and not path.exists():
        raise InputError(
            f"Expected a recipe: one of {', '.join(shipped_recipes())}, or a .toml file. Got: {str(source)!r}."
            f"{nearest(str(source), shipped_recipes())}"
        )
    return parse_recipe(read_text(path, "a recipe in TOML"), where=str(path))


def parse_recipe(text: str, where: str = "recipe") -> Recipe:
    """Return the recipe that a TOML text describes; ``where`` names it in errors."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"Expected TOML in {where}. Got: {error}.") from error
    _check_keys(document, ("name", "description", "unit", "max_drop", "steps"), where)
    tables = document.get("steps", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise InputError(f"Expected steps as [[steps]] tables in {where}. Got: {tables!r}.")
    steps = tuple(_parse_step(table, f"{where}, step {number}") for number, table in enumerate(tables, start=1))
    try:
        return Recipe(
            name=str(document.get("name", Path(where).stem)),
            description=str(document.get("description", "")),
            steps=steps,
            unit=document.get("unit", ""),
            max_drop=document.get("max_drop"),
        )
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _parse_step(table: dict[str, Any], where: str) -> Step:
    if "technique" not in table:
        raise InputError(f"Expected technique = one of {', '.join(_technique.names())} in {where}. Got: {table}.")
    try:
        technique = _technique.get(str(table["technique"]))
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    values = {key: value for key, value in table.items() if key != "technique"}
    _check_keys(values, tuple(technique.parameters.model_fields), where)
    try:
        return Step(str(table["technique"]), technique.parameters.model_validate(values))
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the step"
        given = "nothing" if first["type"] == "missing" else repr(first["input"])
        raise InputError(f"{where}: {key}: expected {expected(first)}. Got: {given}.") from error


def _check_keys(table: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in known:
            raise InputError(f"Expected keys {', '.join(known)} in {where}. Got: {key!r}.{nearest(key, known)}")


def _told(value: Any) -> str:
    return f"{type(value).__name__} {shortened(value)}"
