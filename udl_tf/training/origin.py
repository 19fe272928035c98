"""A trained model whose weights a new run starts from."""

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from udl_tf import presets
from udl_tf.bundle import load, read_manifest
from udl_tf.config import Config, ModelConfig
from udl_tf.errors import UserError
from udl_tf.models import BACKBONES, copy_weights
from udl_tf.super_resolver import SuperResolver
from udl_tf.training.checkpoint import read_progress
from udl_tf.training.run_folder import RunFolder

_FIXED = ("shift", "divide", "res_scale", "operator")  # options of networks


@dataclass(frozen=True)
class Origin:
    """A trained model, and how it was trained: its name, steps, data and own origin."""

    model: SuperResolver
    history: dict[str, Any]


def find_origin(config: Config, run: RunFolder) -> Origin | None:
    """The model that the config names, unless the run has begun.

    Raises:
        UserError: if there is none, it is of another backbone, or its weights mean something else.
    """
    name = config.training.start_from
    if name is None or run.finished(0) or read_progress(run.path) is not None:
        return None
    folder = presets.find(name)
    manifest = read_manifest(folder)
    backbone = manifest.architecture.name
    if backbone != config.model.name:
        raise UserError(
            f"training.start_from {name}: is of {backbone!r}, not {config.model.name!r}: its"
            " weights do not fit, name a model of the same network"
        )
    theirs, mine = (_fixed(model) for model in (manifest.architecture, config.model))
    for key, value in theirs.items():
        if mine[key] != value:
            raise UserError(
                f"training.start_from {name}: was trained with {key} {value}, not {mine[key]}: set"
                f" model.options.{key}={value}, or start from another model"
            )
    return Origin(load(folder), {"name": Path(name).name, **manifest.training})


def _fixed(model: ModelConfig) -> dict[str, Any]:
    """What a network does with its weights; no shape of them tells it."""
    parameters = inspect.signature(BACKBONES[model.name]).parameters
    options = {key: parameter.default for key, parameter in parameters.items()} | model.options
    return {key: value for key, value in options.items() if key in _FIXED}


def take_over(origin: SuperResolver, network: keras.Model) -> list[str]:
    """Copies a trained model's weights, and returns the names of the layers that they do not fit.

    The s head is that of its uncertainty network, all else of its mean network.
    """
    parts = [part for part in (origin.uncertainty, origin.mean) if part is not None]
    kept = [copy_weights(part, network) for part in parts]
    return [name for name in kept[0] if name in kept[-1]]
