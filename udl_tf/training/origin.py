"""A trained model from whose weights a new run starts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from udl_tf.errors import UserError
from udl_tf.inference.keras_upscaler import Networks
from udl_tf.models import copy_weights, resolved_options
from udl_tf.saved import presets
from udl_tf.saved.bundle import read_manifest, read_networks
from udl_tf.training.checkpoint import read_progress
from udl_tf.training.run_folder import RunFolder

_FIXED = ("shift", "divide", "res_scale", "operator")
"""Options that change what weights compute, although no shape shows it."""


@dataclass(frozen=True)
class Origin:
    """A trained model, and how it was trained: its name, steps, data and own origin."""

    model: Networks
    history: dict[str, Any]


def find_origin(run: RunFolder) -> Origin | None:
    """Returns the model that the config starts from; None if there is none or the run has begun.

    Raises:
        UserError: if the model does not exist, is of another network, or was trained with options
            that change what its weights compute.
    """
    model, name = run.config.model, run.config.training.start_from
    if name is None or run.finished(0) or read_progress(run.path) is not None:
        return None
    folder = presets.find(name)
    manifest = read_manifest(folder)
    theirs = manifest.architecture
    if theirs.name != model.name:
        raise UserError(
            f"training.start_from {name}: is of {theirs.name!r}, not {model.name!r}: its weights do"
            " not fit, choose a model of the same network"
        )
    options, wanted = (resolved_options(m.name, m.options) for m in (theirs, model))
    for key in _FIXED:
        if options.get(key) != wanted.get(key):
            raise UserError(
                f"training.start_from {name}: was trained with {key} {options[key]}, not"
                f" {wanted[key]}: set model.options.{key}={options[key]}, or start from another"
                " model"
            )
    return Origin(read_networks(folder), {"name": Path(name).name, **manifest.training})


def take_over(origin: Networks, network: keras.Model) -> list[str]:
    """Copies the weights of a trained model; returns the names of the layers that do not fit.

    The s head is copied from its uncertainty network, everything else from its mean network.
    """
    parts = [part for part in (origin.uncertainty, origin.mean) if part is not None]
    kept = [copy_weights(part, network) for part in parts]
    return [name for name in kept[0] if name in kept[-1]]
