"""What a technique is: a name, its parameters, and what it does to a model."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pydantic

from ..errors import InputError
from ..plugins import Plugins
from ..train import Deployment, Task
from ..train._rebuilding import why_not
from ..train._training import OnEpoch
from ._transform import Transform

if TYPE_CHECKING:
    import keras

    from ._activations import Activations

# What a technique changes, in the order in which a recipe may do it.
SHAPES, VALUES, PRECISION = "shapes", "values", "precision"
STAGES = (SHAPES, VALUES, PRECISION)


class Parameters(pydantic.BaseModel):
    """Base of a technique's parameters: an unknown key is an error, and so are text for a number, NaN and infinity."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


@dataclass(frozen=True)
class VariableReport:
    """What was done to one variable.

    Attributes:
        path: the variable's Keras path, such as "hidden_1/kernel".
        shape: its shape.
        sparsity: the share of zeros in it, 0 to 1.
        values: how many distinct values it holds.
        bits: of one of its elements as exported; 32 where no step of the recipe asks for fewer.
        error: the norm of its change over the norm that it had; None where its shape changed or it was all zeros.
        applied: names of the techniques that changed it.
        skipped: why a technique left it alone, a sentence for each technique that did.
    """

    path: str
    shape: tuple[int, ...]
    sparsity: float
    values: int = 0
    bits: float = 32
    error: float | None = None
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
        transforms: what earlier steps hold the variables to; they are in force in every fine-tuning.
        on_epoch: called with (epochs done, epochs in all) during fine-tuning.
        deploy: maps the model to the graphs that go to a device, and the host code around them; None where the model
            itself goes.
    """

    model: "keras.Model"
    task: Task
    seed: int
    original: "keras.Model"
    transforms: tuple[Transform, ...] = ()
    on_epoch: OnEpoch | None = None
    deploy: "Callable[[keras.Model], Deployment] | None" = None

    def own_copy(self) -> "Work":
        """Return the work with a model that may be changed: a copy, unless it is one already.

        Raises:
            InputError: Keras cannot rebuild the model's layers.
        """
        import keras

        from ._variable_paths import name_alike, name_variables

        if self.model is not self.original:
            return self
        try:
            copy = keras.models.clone_model(self.original)
        except (ValueError, TypeError, NotImplementedError) as error:
            raise InputError(
                f"Expected a model whose layers Keras can copy, to change its weights. Got: {self.original.name}: "
                f"{why_not(self.original, error)} Use a recipe that only quantizes, such as int8."
            ) from error
        copy.set_weights(self.original.get_weights())
        # Keras makes the layers within a frozen layer anew, and trainable.
        if any(not layer.trainable for layer in self.original._flatten_layers()):
            for layer, before in zip(copy._flatten_layers(), self.original._flatten_layers(), strict=True):
                layer.trainable = before.trainable
        name_alike([(self.original, name_variables(copy))])
        return replace(self, model=copy)

    def host_layers(self) -> frozenset[str]:
        """Return the names of the model's layers that are in no graph that goes to a device: the host computes them."""
        import keras

        if self.deploy is None:
            return frozenset()
        # Of a copy: a model whose layers were called in other graphs too may fail to be saved.
        copy = keras.models.clone_model(self.model)
        copy.set_weights(self.model.get_weights())
        graphs = self.deploy(copy).graphs.values()
        # A graph's input may have the name of the layer whose place the host takes.
        deployed = {
            layer.name
            for graph in graphs
            for layer in graph._flatten_layers()
            if not isinstance(layer, keras.layers.InputLayer)
        }
        return frozenset(
            layer.name
            for layer in self.model.layers
            if not deployed & {inner.name for inner in layer._flatten_layers()}
        )


@dataclass(frozen=True)
class Result:
    """What a technique returns.

    Attributes:
        model: the model as it is now.
        applied: paths of the variables that it changed.
        skipped: by path, why it left a variable alone.
        transforms: what later fine-tuning has to hold the variables to.
        notes: sentences for the report, such as that fine-tuning diverged.
        activations: how the exporters are to quantize the activations; None leaves it to each format's own quantizer.
    """

    model: "keras.Model"
    applied: tuple[str, ...] = ()
    skipped: dict[str, str] = field(default_factory=dict)
    transforms: tuple[Transform, ...] = ()
    notes: tuple[str, ...] = ()
    activations: "Activations | None" = None


@dataclass(frozen=True)
class Technique:
    """One way to make a model smaller or faster.

    Attributes:
        name: the plug-in's name.
        title: what a report calls it.
        parameters: the class of its parameters.
        apply: maps (work, parameters) to a result; it leaves ``work.original`` unchanged.
        stage: what it changes, "shapes", "values" or "precision"; a recipe's steps come in this order.
        precision: the precision that artifacts are exported in after it, such as "int8"; "" when it sets none.
        needs_data: whether it needs samples.
        check: raises for (work, parameters) what ``apply`` would refuse; where it is None, ``apply`` itself is tried
            without training. What hangs on how well a model is trained is not refused here.
    """

    name: str
    title: str
    parameters: type[Parameters]
    apply: Callable[[Work, Parameters], Result]
    stage: str = VALUES
    precision: str = ""
    needs_data: bool = False
    check: Callable[[Work, Parameters], object] | None = None


_PLUGINS: Plugins[Technique] = Plugins(
    __package__ or "edgewright.compress", [str(Path(__file__).parent)], "TECHNIQUE", "technique"
)
names = _PLUGINS.names
get = _PLUGINS.get
