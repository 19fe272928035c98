"""Checks of arguments that come from a config, by the annotations of what they are passed to."""

import inspect
from typing import Any

from pydantic import PydanticUserError, TypeAdapter, ValidationError

from udl_tf.errors import UserError


def check_type(key: str, value: Any, annotation: Any) -> None:
    """Checks the type of a value, if its annotation is one that can be checked.

    Args:
        key: key of the value in the config, for errors.
        value: as read from JSON.
        annotation: of the parameter; inspect.Parameter.empty accepts all.

    Raises:
        UserError: if the value is of another type; numbers in quotes are not numbers.
    """
    if annotation is inspect.Parameter.empty:
        return
    try:
        TypeAdapter(annotation).validate_python(value, strict=True)
    except ValidationError as error:
        raise UserError(f"{key}: got {value!r}; {error.errors()[0]['msg']}") from None
    except (PydanticUserError, NameError):  # a type that pydantic cannot check
        return
