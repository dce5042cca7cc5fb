"""A model whose layers have low-rank adapters (LoRA), built anew with the adapters merged into the kernels.

Keras computes the kernel of such a layer from three variables; what files hold, and what recipes change, is their sum.
"""

from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ._rebuilding import built_anew, largest_change

if TYPE_CHECKING:
    import keras

_SETTINGS = frozenset({"lora_rank", "lora_alpha"})
_TOLERANCE = 1e-3


def without_lora(model: "keras.Model") -> "tuple[keras.Model, tuple[str, ...]]":
    """Return a model that computes the same with plain kernels, and a note that says so if it is new.

    Raises:
        InputError: Keras cannot build the layers anew, or they compute something else then.
    """
    adapted = [layer.path or layer.name for layer in model._flatten_layers() if getattr(layer, "lora_enabled", False)]
    if not adapted:
        return model, ()
    try:
        made = built_anew(model, _plain, _merge)
    except ValueError as error:
        raise _refused(model, adapted, str(error)) from error
    moved = largest_change(model, made)
    if not moved <= _TOLERANCE:
        raise _refused(model, adapted, f"The outputs move by {100 * moved:.2g} % of their size.")
    return made, (
        f"the low-rank adapters (LoRA) of {_listed(adapted)} were merged into the kernels: what is compressed, and "
        "compared with, computes the same without them",
    )


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    """Return a layer's configuration without adapters."""
    return {key: value for key, value in config.items() if key not in _SETTINGS}


def _merge(model: "keras.Model", made: "keras.Model") -> None:
    for layer, before in zip(made._flatten_layers(), model._flatten_layers(), strict=True):
        merged: dict[str, Any] = {}
        before.save_own_variables(merged)  # this is where Keras adds an adapter to its kernel
        layer.load_own_variables(merged)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _refused(model: "keras.Model", adapted: list[str], why: str) -> InputError:
    return InputError(
        f"Expected a model whose low-rank adapters (LoRA) can be merged into the kernels. Got: {model.name}, with "
        f"adapters in {_listed(adapted)}. {why} Save it and load the file: Keras merges the adapters as it saves."
    )
