"""Whether a model can be exported at all, told before anything is computed with it; and whose fault a failure is."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..compress._points import traced
from ..errors import EdgewrightError, InputError
from ..train._data_file import model_inputs

if TYPE_CHECKING:
    import keras

# What TensorFlow takes as the name of a scope, and with another first character as that of an input or a whole model.
_SCOPE = re.compile(r"[A-Za-z0-9_./>-]*")
_ROOT = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_./>-]*")
# Keras puts what a layer complains of in bold, between a first line and the layer's arguments.
_BOLD = re.compile(r"\x1b\[1m(.*?)\x1b\[0m", re.DOTALL)


def check_exportable(model: "keras.Model") -> None:
    """Raise InputError for names and sizes that no exported graph can have."""
    inputs = model_inputs(model)
    _check_name("the model", model.name, _ROOT)
    for name in inputs:
        _check_name("an input", name, _ROOT)
    for layer in model._flatten_layers(include_self=False):
        _check_name("a layer", layer.name, _SCOPE)
        if getattr(layer, "lookup_table", None) is not None:
            raise no_table(layer.name)
    for name, (shape, _) in inputs.items():
        if None in shape:
            raise InputError(
                f"Expected fixed dimensions besides the batch in input {name!r}: devices run static shapes. "
                f"Got: {(None, *shape)}. Rebuild the model with a fixed shape."
            )


def no_table(layer: str) -> InputError:
    """Return the error of a model that looks words or numbers up in a table."""
    return InputError(
        f"Expected layers that compute with numbers and weights. Got: {layer!r}, which looks its input up in a table: "
        "no exported file holds one. Build the model anew from the layer after it, and look up before."
    )


@contextmanager
def blaming(model: "keras.Model") -> Iterator[None]:
    """Within, an exception is an InputError where the model itself cannot be run.

    Keras infers the shapes of some models that it then cannot compute. Whether a model is one of these is looked at
    only when something went wrong: it takes as long as tracing it does.
    """
    try:
        yield
    except EdgewrightError:
        raise
    except Exception:
        if all(None not in tensor.shape[1:] for tensor in model.inputs):
            _check_runs(model)
        raise


def _check_name(what: str, name: str, allowed: re.Pattern[str]) -> None:
    if not allowed.fullmatch(name):
        raise InputError(
            f"Expected a name of ASCII letters, digits and _ . - for {what}, as TensorFlow's graphs need; an input's "
            f"and the model's begin with a letter or digit. Got: {name!r}. Build the model anew with another name and "
            "give it the weights: new.set_weights(old.get_weights())."
        )


def _check_runs(model: "keras.Model") -> None:
    try:
        traced(model)
    except Exception as error:
        bold = _BOLD.search(str(error))
        lines = (bold.group(1) if bold else str(error)).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"Expected a model that can be run. Got: {model.name!r}, whose call at batch 1 fails: {lines[0]}"
        ) from error
