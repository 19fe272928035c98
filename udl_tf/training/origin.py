"""Trained model from whose weights a new run starts."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras

from udl_tf.config import ModelConfig
from udl_tf.errors import UserError
from udl_tf.hub import presets
from udl_tf.inference.keras_upscaler import Networks
from udl_tf.models import (
    adapt_channels,
    adapted_values,
    copy_weights,
    has_branches,
    resolved_options,
)
from udl_tf.saved.bundle import Manifest, build_network, read_manifest, read_networks
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
        changes: what was done to layers, by their names, for another number of channels.
    """

    model: Networks
    history: dict[str, Any]
    changes: dict[str, str] = field(default_factory=dict)


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
        value, needed = (
            adapted_values(x, model.channels) if isinstance(x, list) else x  # per channel
            for x in (options.get(key), wanted.get(key))
        )
        if value != needed:
            raise UserError(
                f"training.start_from {name}: the model was trained with {key} {value}, not"
                f" {wanted[key]}: set model.options.{key}={value}, or choose another model"
            )
    history, networks = {"name": Path(name).name, **manifest.training}, read_networks(folder)
    if trained.channels == model.channels:
        return Origin(networks, history)
    networks, changes = _adapted(networks, manifest, model)
    return Origin(networks, history, changes)


def _adapted(
    networks: Networks, manifest: Manifest, model: ModelConfig
) -> tuple[Networks, dict[str, str]]:
    """Returns trained networks for another number of channels, and what was done to their layers.

    Args:
        networks: of the trained model.
        manifest: of the trained model.
        model: the network to train.
    """
    trained = manifest.architecture
    options = trained.options | {key: model.options[key] for key in _FIXED if key in model.options}
    model = trained.model_copy(update={"channels": model.channels, "options": options})
    mean = build_network(model, manifest.mean.log_scale_head)
    changes, uncertainty = adapt_channels(networks.mean, mean), networks.uncertainty
    if uncertainty is networks.mean:
        uncertainty = mean
    elif manifest.uncertainty is not None and uncertainty is not None:
        second = build_network(model, manifest.uncertainty.log_scale_head)
        changes |= adapt_channels(uncertainty, second)
        uncertainty = second
    return replace(networks, mean=mean, uncertainty=uncertainty, calibration=None), changes


def take_over(origin: Origin, network: keras.Model) -> str:
    """Copies the weights of a trained model to a network; returns a description for a log line.

    The mean part comes from its mean network, and the s head from its uncertainty network.
    """
    parts = [part for part in (origin.model.uncertainty, origin.model.mean) if part is not None]
    fresh = [copy_weights(part, network) for part in parts]  # the mean network overwrites last
    fresh = [name for name in fresh[0] if name in fresh[-1]]
    taken = {layer.name for layer in network.layers if layer.weights} - set(fresh)
    changed = [f"{name} ({what})" for name, what in origin.changes.items() if name in taken]
    return "; ".join(
        [
            *(["kernels split into branches"] if has_branches(network) else []),
            *([f"for other channels: {', '.join(changed)}"] if changed else []),
            f"layers with new weights: {', '.join(fresh) or 'none'}",
        ]
    )
