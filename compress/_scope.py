"""The scope of a technique: a regular expression that is found in the paths of the variables that it changes."""

import re
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator

from ..errors import InputError

if TYPE_CHECKING:
    import keras


def _is_a_regular_expression(scope: str) -> str:
    try:
        re.compile(scope)
    except re.error as error:
        raise ValueError(f"a regular expression ({error})") from error
    return scope


# The type of a parameter that is a regular expression, such as ``scope``.
Scope = Annotated[str, AfterValidator(_is_a_regular_expression)]


def check_trainable(model: "keras.Model") -> None:
    """Raise where a model has no trainable variable, which no scope can match.

    Raises:
        InputError: it has no weights, or none that any training changes.
    """
    if model.trainable_variables:
        return
    held = "none that training changes" if model.weights else "none"
    raise InputError(
        f"Expected a model with weights to change. Got: {model.name}, which has {held}. Use a recipe that only sets "
        "the precision."
    )


def in_scope(model: "keras.Model", scope: str, why_no_vector: str) -> tuple[list["keras.Variable"], dict[str, str]]:
    """Return the trainable variables of two or more dimensions in whose path ``scope`` is found.

    Args:
        model: the model.
        scope: the regular expression.
        why_no_vector: why a variable of one dimension in the scope is left alone.

    Returns:
        The variables, and for each other trainable variable's path why it is left alone.

    Raises:
        InputError: there is none.
    """
    check_trainable(model)
    found, skipped = [], {}
    for variable in model.trainable_variables:
        if not re.search(scope, variable.path):
            skipped[variable.path] = f"out of the scope {scope!r}"
        elif len(variable.shape) < 2:
            skipped[variable.path] = why_no_vector
        else:
            found.append(variable)
    if not found:
        paths = ", ".join(variable.path for variable in model.trainable_variables[:20])
        raise InputError(f"Expected a scope that matches a kernel among: {paths}. Got: {scope!r}.")
    return found, skipped
