"""The networks. A new one is a file beside this one and a line in BACKBONES."""

import inspect
from functools import partial

import keras
from pydantic import TypeAdapter, ValidationError

from udl_tf.errors import UserError, nearest
from udl_tf.models.dpdnn import DPDNN
from udl_tf.models.edsr import EDSR
from udl_tf.models.uncertainty import copy_weights, mean_part, uncertainty_part

__all__ = ["BACKBONES", "DPDNN", "EDSR", "build_model"]
__all__ += ["copy_weights", "mean_part", "uncertainty_part"]

BACKBONES = {
    "edsr_s": EDSR,
    "edsr": partial(EDSR, num_blocks=32, num_filters=256),
    "dpdnn": DPDNN,
}


def build_model(name: str, scale: int, **options) -> keras.Model:
    """Builds a network with fresh weights.

    Args:
        name: a name in BACKBONES.
        scale: 2, 3 or 4.
        options: the other constructor arguments of the network's class.

    Raises:
        UserError: for an unknown name, scale or option, naming the known ones.
    """
    if name not in BACKBONES:
        raise UserError(f"model.name {name!r} is unknown, {nearest(name, BACKBONES)}")
    if scale not in (2, 3, 4):
        raise UserError(f"model.scale {scale} is unknown, known: 2, 3, 4")
    known = dict(inspect.signature(BACKBONES[name]).parameters)
    known = {k: v for k, v in known.items() if k not in ("scale", "kwargs")}
    for option, value in options.items():
        if option not in known:
            raise UserError(
                f"model.options.{option} is no option of {name}, {nearest(option, known)}"
            )
        try:
            TypeAdapter(known[option].annotation).validate_python(value, strict=True)
        except ValidationError as error:
            message = error.errors()[0]["msg"]
            raise UserError(f"model.options.{option}: got {value!r}; {message}") from None
    try:
        return BACKBONES[name](scale=scale, name=name, **options)
    except (TypeError, ValueError) as error:
        raise UserError(f"model.options do not fit {name}: {error}") from error
