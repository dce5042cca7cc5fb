"""What a model is, in words: for the fields that each format has for it, and for the model card."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pydantic

from ..errors import InputError, nearest, shortened
from ..files import read_text

# A recipe's SHA-256 is written into the files by so many of its hexadecimal digits.
RECIPE_DIGITS = 16


@dataclass(frozen=True)
class About:
    """What is told of a model.

    Attributes:
        name: of the model.
        version: its own, such as "1.2.0".
        description: what it does, in a sentence or two.
        author: who made it.
        licence: under which it may be used, an SPDX identifier where there is one.
        inputs, outputs: by a tensor's name, what it holds: units, order of channels, names of classes.
        ranges: by an input's name, the smallest and the largest value in the samples.
        recipe: the SHA-256 of the recipe.
    """

    name: str = ""
    version: str = ""
    description: str = ""
    author: str = ""
    licence: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    recipe: str = ""

    def of(self, graph: str, inputs: Iterable[str], outputs: Iterable[str]) -> "About":
        """Return what concerns one graph, "model" where there is but one: it tells of each of its tensors."""
        inputs = tuple(inputs)
        return replace(
            self,
            name=self.name if graph == "model" else f"{self.name} {graph}".strip(),
            inputs={name: self.inputs.get(name, "") for name in inputs},
            outputs={name: self.outputs.get(name, "") for name in outputs},
            ranges={name: bounds for name, bounds in self.ranges.items() if name in inputs},
        )

    def of_input(self, name: str) -> str:
        """Return an input's description with the range of its values, for formats that have one text for both."""
        text = self.inputs.get(name, "")
        if name not in self.ranges:
            return text
        low, high = self.ranges[name]
        return f"{text}{'; ' if text else ''}{low:.4g} to {high:.4g}"

    @property
    def facts(self) -> dict[str, str]:
        """What is known of the model as a whole, by the names that the formats' documents use."""
        texts = {
            "name": self.name,
            "version": self.version,
            "description": self.description,
            "author": self.author,
            "license": self.licence,
            "recipe": self.recipe[:RECIPE_DIGITS],
        }
        return {key: text for key, text in texts.items() if text}


class _File(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = ""
    version: str = ""
    description: str = ""
    author: str = ""
    licence: str = ""
    inputs: dict[str, str] = {}
    outputs: dict[str, str] = {}


def load_about(path: Path) -> About:
    """Read what a model is from a TOML file.

    Its keys are name, version, description, author and licence, and the tables inputs and outputs, which describe a
    tensor by its name.

    Raises:
        InputError: no such file, no TOML, or a key or value that is not one of these.
    """
    try:
        document = tomllib.loads(read_text(path, "a TOML file that tells of the model"))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"Expected TOML in {path}. Got: {error}.") from error
    try:
        return About(**_File(**document).model_dump())
    except pydantic.ValidationError as error:
        raise InputError(_why(path, error.errors()[0])) from error


def _why(path: Path, found: Any) -> str:
    place = ".".join(str(part) for part in found["loc"])
    known = list(_File.model_fields)
    if found["type"] == "extra_forbidden":
        return f"Expected in {path} the keys {', '.join(known)}. Got: {place!r}.{nearest(place, known)}"
    wanted = "a table of texts" if place in ("inputs", "outputs") else "a text"
    return f"Expected {wanted} for {place!r} in {path}. Got: {shortened(found['input'])}."


def check_about(about: About, inputs: Iterable[str], outputs: Iterable[str]) -> None:
    """Raise unless every tensor that is told of is one of the model's.

    Args:
        about: what is told.
        inputs, outputs: the names of its tensors, those of all graphs and those of a sample.

    Raises:
        InputError: it names another.
    """
    for kind, told, there in (("input", about.inputs, inputs), ("output", about.outputs, outputs)):
        known = sorted(set(there))
        for name in set(told) - set(known):
            raise InputError(
                f"Expected the name of an {kind} to describe: {', '.join(known)}. Got: {name!r}.{nearest(name, known)}"
            )
