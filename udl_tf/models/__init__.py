"""Networks. A new one is a line in BACKBONES; see docs/networks.md#your-own-loss-or-network."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import keras

from udl_tf._support.arguments import check_type
from udl_tf.errors import UserError, nearest
from udl_tf.models.channels import adapt_channels, adapted_values
from udl_tf.models.contract import check_contract
from udl_tf.models.dpdnn import DPDNN
from udl_tf.models.dtype_policy import precision
from udl_tf.models.edsr import EDSR
from udl_tf.models.heads import freeze_all_but_head, mean_part, uncertainty_part
from udl_tf.models.span import SPAN
from udl_tf.models.weights import copy_weights, fused, has_branches

__all__ = [
    "BACKBONES",
    "DPDNN",
    "EDSR",
    "SPAN",
    "adapt_channels",
    "adapted_values",
    "build_model",
    "check_contract",
    "copy_weights",
    "freeze_all_but_head",
    "fused",
    "has_branches",
    "mean_part",
    "precision",
    "resolved_options",
    "uncertainty_part",
]

BACKBONES: dict[str, Callable[..., keras.Model]] = {
    "edsr_s": EDSR,
    "edsr": partial(EDSR, num_blocks=32, num_filters=256),
    "dpdnn": DPDNN,
    "span": SPAN,
}
"""Networks by their names in configs: classes, or functions, that return a keras.Model."""

_LARGEST = 2**14  # of an option that is an integer, such as the number of blocks
_EVERY = ("scale", "uncertainty", "log_scale_head")  # arguments of every network


def build_model(name: str, scale: int, channels: int = 3, **options) -> keras.Model:
    """Builds a network with fresh weights.

    Args:
        name: key of BACKBONES.
        scale: 2, 3 or 4.
        channels: of the images, 1 to 64.
        options: further constructor arguments of the network's class.

    Raises:
        UserError: for an unknown name, scale or option, naming the known ones, or for a value that
            the network does not accept.
    """
    if name not in BACKBONES:
        raise UserError(
            f"model.name {name!r} is unknown, {nearest(name, BACKBONES)} (your own network must be"
            " in udl_tf.models.BACKBONES first)"
        )
    if scale not in (2, 3, 4):
        raise UserError(f"model.scale {scale} is unknown, known: 2, 3, 4")
    if channels not in range(1, 65):
        raise UserError(f"model.channels {channels}: expected a whole number, 1 to 64")
    known, given = _parameters(name), {}
    if "channels" in _signature(BACKBONES[name]).parameters:
        given["channels"] = channels
    elif channels != 3:
        raise UserError(
            f"model.channels {channels}: network {name} supports only 3, because its constructor"
            " lacks the argument channels: add it"
        )
    for option, value in options.items():
        if option not in known:
            raise UserError(
                f"model.options.{option} is not an option of {name}, {nearest(option, known)}"
            )
        _check_value(option, value, known[option].annotation)
    try:
        return BACKBONES[name](scale=scale, name=name, **given, **options)
    except ValueError as error:
        raise UserError(f"model.options are not valid for {name}: {error}") from error


def resolved_options(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Returns all options of a network: the given ones and the defaults of the others."""
    return {key: p.default for key, p in _parameters(name).items()} | options


def _parameters(name: str) -> dict[str, inspect.Parameter]:
    """Returns the constructor arguments of a network that a config may set.

    Raises:
        UserError: if the constructor lacks an argument that every network has.
    """
    parameters = _signature(BACKBONES[name]).parameters
    others = [key for key, p in parameters.items() if p.kind is p.VAR_KEYWORD]
    lacking = [key for key in _EVERY if key not in parameters]
    if lacking or not others:
        raise UserError(
            f"network {name}: its constructor lacks {', '.join(lacking or ['**kwargs'])}; expected"
            f" the arguments {', '.join(_EVERY)} and **kwargs, for keras.Model: add them"
        )
    return {key: p for key, p in parameters.items() if key not in ("scale", "channels", *others)}


def _signature(network: Callable) -> inspect.Signature:
    try:
        return inspect.signature(network, eval_str=True)
    except NameError:  # an annotation names something that is imported for type checkers only
        return inspect.signature(network)


def _check_value(option: str, value: Any, annotation: Any) -> None:
    """Checks the value of an option by the annotation of its argument, if it has a usable one."""
    if isinstance(value, int) and value > _LARGEST:  # building it would not end
        raise UserError(f"model.options.{option}: got {value}; expected at most {_LARGEST}")
    check_type(f"model.options.{option}", value, annotation)
