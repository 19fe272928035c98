"""Tiny runs: their configs, weights and curves."""

import signal
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import numpy as np

from helpers.images import noise_image


def tiny_config(folder: Path, count: int = 6, size: tuple[int, int] = (32, 36)) -> dict[str, Any]:
    """Returns the config of a run on small images, which are written to `folder`/images."""
    from udl_tf.imaging.rgb_files import write_rgb

    for index in range(count):
        write_rgb(folder / f"images/{index}.png", noise_image(*size, index))
    images = [str(folder / "images")]
    return {
        "model": {"scale": 2, "options": {"num_blocks": 1, "num_filters": 4}},
        "data": {
            "hr_patch_size": 16,
            "batch_size": 2,
            "train": images,
            "test": images,
            "cache_dir": str(folder / "cache"),
        },
        "optimizer": {"learning_rate": 1e-2, "ema": 0.9},
        "steps": [{"loss": "l1", "updates": 6}, {"loss": "l1", "updates": 4}],
        "training": {"precision": "float32", "interval": 3},
        "evaluation": {"figures": 0},
    }


def train_weights(config: Any, folder: Path) -> dict[str, Any]:
    """Trains a run of a config, or of its content; neither calibrates theta nor evaluates it."""
    from udl_tf.config import Config
    from udl_tf.training import run

    with mock.patch.multiple(run, calibrate_theta=mock.DEFAULT, evaluate_run=mock.DEFAULT):
        return run.train(Config.model_validate(config), folder)


def weights(folder: Path, step: int) -> dict[str, np.ndarray]:
    """Returns the weights at the end of a step, counted from 1, by name."""
    (file,) = (folder / "weights").glob(f"step{step}-*")
    found = {}

    def add(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    with h5py.File(file) as content:
        content.visititems(add)
    assert found
    return found


def same_weights(a: Path, b: Path, step: int) -> bool:
    """Returns whether two runs ended a step with equal weights, to the bit."""
    first, second = weights(a, step), weights(b, step)
    return first.keys() == second.keys() and all(
        np.array_equal(first[name], second[name]) for name in first
    )


def curve(folder: Path, name: str) -> dict[int, float]:
    """Returns the points of a TensorBoard curve of one step, by update of the run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), {"scalars": 0})
    events.Reload()
    return {event.step: event.value for event in events.Scalars(name)}


def loss_curve(folder: Path) -> dict[int, float]:
    """Returns the loss of one step, by update of the run."""
    return curve(folder, f"train/loss/{folder.name}")


def stop_at(update: int, monkeypatch) -> None:
    """Lets each step of a run get Ctrl-C in the validation at an update."""
    from udl_tf.training.validation import Validation

    validate = Validation.__call__

    def validate_and_interrupt(self, done):
        if done == update:
            signal.raise_signal(signal.SIGINT)
        return validate(self, done)

    monkeypatch.setattr(Validation, "__call__", validate_and_interrupt)
