"""What a technique is: a name, its parameters, and what it does to a model."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pydantic

from ..errors import InputError
from ..plugins import Plugins
from ..train import Task
from ..train._training import OnEpoch

if TYPE_CHECKING:
    import keras


class Parameters(pydantic.BaseModel):
    """Base of a technique's parameters; an unknown key is an error."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class VariableReport:
    """What was done to one variable.

    Attributes:
        path: the variable's Keras path, such as "hidden_1/kernel".
        shape: its shape.
        sparsity: the share of zeros in it, 0 to 1.
        applied: names of the techniques that changed it.
        skipped: why a technique left it alone, a sentence for each technique that did.
    """

    path: str
    shape: tuple[int, ...]
    sparsity: float
    applied: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Work:
    """A model on its way through a recipe.

    Attributes:
        model: the model so far; a technique that changes it works on ``own_copy()``.
        task: what the model is judged by, and the data to fine-tune on.
        seed: of everything random.
        original: the model as it came in.
        on_epoch: called with (epochs done, epochs in all) during fine-tuning.
    """

    model: "keras.Model"
    task: Task
    seed: int
    original: "keras.Model"
    on_epoch: OnEpoch | None = None

    def own_copy(self) -> "Work":
        """Return the work with a model that may be changed: a copy, unless it is one already.

        Raises:
            InputError: Keras cannot rebuild the model's layers.
        """
        import keras

        if self.model is not self.original:
            return self
        try:
            copy = keras.models.clone_model(self.original)
        except (ValueError, TypeError, NotImplementedError) as error:
            raise InputError(
                f"Expected a model whose layers Keras can copy, to change its weights. Got: {self.original.name}: "
                f"{str(error).strip().splitlines()[0]} Use a recipe that only quantizes, such as int8."
            ) from error
        copy.set_weights(self.original.get_weights())
        return replace(self, model=copy)


@dataclass(frozen=True)
class Result:
    """What a technique returns: the model, and for each variable path what was done or why it was skipped."""

    model: "keras.Model"
    applied: tuple[str, ...] = ()
    skipped: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Technique:
    """One way to make a model smaller or faster.

    Attributes:
        name: the plug-in's name.
        title: what a report calls it.
        parameters: the class of its parameters.
        apply: maps (work, parameters) to a result; it leaves ``work.original`` unchanged.
        precision: the precision that artifacts are exported in after it, such as "int8"; "" when it sets none.
        needs_data: whether it needs samples.
    """

    name: str
    title: str
    parameters: type[Parameters]
    apply: Callable[[Work, Parameters], Result]
    precision: str = ""
    needs_data: bool = False


_PLUGINS: Plugins[Technique] = Plugins(
    __package__ or "edgewright.compress", [str(Path(__file__).parent)], "TECHNIQUE", "technique"
)
names = _PLUGINS.names
get = _PLUGINS.get
