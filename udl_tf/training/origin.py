"""A trained model whose weights a new run starts from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from udl_tf import presets
from udl_tf.bundle import load, read_manifest
from udl_tf.config import Config
from udl_tf.errors import UserError
from udl_tf.models import copy_weights
from udl_tf.super_resolver import SuperResolver
from udl_tf.training.checkpoint import read_progress
from udl_tf.training.run_folder import RunFolder


@dataclass(frozen=True)
class Origin:
    """A trained model, and how it was trained: its name, steps, data and own origin."""

    model: SuperResolver
    history: dict[str, Any]


def find_origin(config: Config, run: RunFolder) -> Origin | None:
    """The model that the config names, unless the run has begun.

    Raises:
        UserError: if there is none, or it is of another backbone.
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
    return Origin(load(folder), {"name": Path(name).name, **manifest.training})


def take_over(origin: SuperResolver, network: keras.Model) -> list[str]:
    """Copies a trained model's weights, and returns the names of the layers that they do not fit.

    The s head is that of its uncertainty network, all else of its mean network.
    """
    parts = [part for part in (origin.uncertainty, origin.mean) if part is not None]
    kept = [copy_weights(part, network) for part in parts]
    return [name for name in kept[0] if name in kept[-1]]
