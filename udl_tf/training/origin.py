"""Trained model from whose weights a new run starts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from udl_tf.errors import UserError
from udl_tf.hub import presets
from udl_tf.inference.keras_upscaler import Networks
from udl_tf.models import copy_weights, resolved_options
from udl_tf.saved.bundle import read_manifest, read_networks
from udl_tf.training.checkpoint import read_progress
from udl_tf.training.run_folder import RunFolder

_FIXED = ("shift", "divide", "res_scale", "anchor", "operator")
"""Options on which the meaning of weights depends, though not their shapes."""


@dataclass(frozen=True)
class Origin:
    """Trained model that a run starts from.

    Attributes:
        model: its networks.
        history: how it was trained: "name", "steps", "data" and its own "origin".
    """

    model: Networks
    history: dict[str, Any]


def find_origin(run: RunFolder) -> Origin | None:
    """Returns the model that a config starts from; None if there is none or the run has begun.

    Raises:
        UserError: if the model does not exist, or its weights do not match the network.
    """
    model, name = run.config.model, run.config.training.start_from
    if name is None or run.finished(0) or read_progress(run.path) is not None:
        return None
    folder = presets.find(name)
    manifest = read_manifest(folder)
    trained = manifest.architecture
    if trained.name != model.name:
        raise UserError(
            f"training.start_from {name}: the model is {trained.name!r}, expected {model.name!r}:"
            " choose a model of the same network"
        )
    options, wanted = (resolved_options(m.name, m.options) for m in (trained, model))
    for key in _FIXED:
        if options.get(key) != wanted.get(key):
            raise UserError(
                f"training.start_from {name}: the model was trained with {key} {options[key]}, not"
                f" {wanted[key]}: set model.options.{key}={options[key]}, or choose another model"
            )
    return Origin(read_networks(folder), {"name": Path(name).name, **manifest.training})


def take_over(origin: Networks, network: keras.Model) -> list[str]:
    """Copies the weights of a trained model; returns the names of the layers that do not match.

    The mean part comes from its mean network, and the s head from its uncertainty network.
    """
    parts = [part for part in (origin.uncertainty, origin.mean) if part is not None]
    fresh = [copy_weights(part, network) for part in parts]  # the mean network overwrites last
    return [name for name in fresh[0] if name in fresh[-1]]
