"""Paths and facts of a run folder.

config.json                      resolved config, with the decision on training.cache_uncertainty
images.json                      names of the images that are trained on and held out
versions.json                    Python and packages, backend, precision
log.txt  tensorboard/            log and curves
weights/step1-esu.weights.h5     network at the end of each step, as it was trained
weights/fused/                   the same without branches, for the bundle, if it has any
model.json                       bundle (udl_tf.saved.bundle)
checkpoint.npz                   state of the running step
running/                         bundle of the running step (udl_tf.training.running)
calibration/                     calibration of theta: report.md, report.json, figures
metrics.json                     data, steps and results
results.md  figures/             evaluation
preset/                          the trained model for SRModel.from_preset and model hubs
cache/                           computed LR images, if the user's cache folder cannot be written
"""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras

from udl_tf._support.json_files import read_json, read_model, write_json
from udl_tf._support.versions import versions
from udl_tf.config import Config
from udl_tf.data.split import Split
from udl_tf.errors import UserError
from udl_tf.training.checkpoint import read_progress

RUNNING, CACHE = "running", "cache"


def is_running(bundle: Path) -> bool:
    """Returns whether a bundle is that of a running step, which the run replaces and deletes."""
    bundle = bundle.resolve()
    return bundle.name == RUNNING and (bundle.parent / "config.json").is_file()


class RunFolder:
    """A run folder: new, or with a run of the same config.

    Args:
        path: the folder.
        config: the resolved config.
        extend: whether the steps of the stored config may have fewer updates.

    Raises:
        UserError: if the folder contains something else, or a run of another config.

    Attributes:
        path: the folder.
        config: the resolved config; training.cache_uncertainty "auto" is replaced by the decision
            of the run, once it exists.
        figures: folder of the figures.
        metrics: file of the results.
        running: folder of the bundle of the running step.
        cache: folder of data that can be computed again.
    """

    def __init__(self, path: Path | str, config: Config, extend: bool = False):
        self.path = Path(path)
        self._file = self.path / "config.json"
        self._versions = self.path / "versions.json"
        self._images = self.path / "images.json"
        self.figures = self.path / "figures"
        self.metrics = self.path / "metrics.json"
        self.running = self.path / RUNNING
        self.cache = self.path / CACHE
        stored = self.stored_config()
        self.config = config
        if stored is not None and config.training.cache_uncertainty == "auto":
            self.config = _with_cache(config, stored.training.cache_uncertainty)
        self._check(stored, extend)

    def create(self, precision: str, cache_uncertainty: bool, split: Split) -> None:
        """Creates the folder unless it exists, and records the decisions of the run."""
        self.config = _with_cache(self.config, cache_uncertainty)
        if not self._file.exists():
            write_json(self._file, self.config.model_dump())
        if self.precision is None:
            facts = {"backend": keras.backend.backend(), "precision": precision}
            write_json(self._versions, {**versions(), **facts})
        if not self._images.exists():
            write_json(self._images, split.model_dump())
        for name in ("weights", "figures"):
            (self.path / name).mkdir(exist_ok=True)

    @property
    def precision(self) -> str | None:
        """Keras dtype policy that the run started in; None for a new run."""
        try:
            return read_json(self._versions).get("precision")
        except (OSError, UserError):
            return None

    def read_split(self) -> Split | None:
        """Reads the division of the training images; None for a new run, or one of version 0.1."""
        return read_model(self._images, Split) if self._images.exists() else None

    def stored_config(self) -> Config | None:
        """Reads the config of the run; None for a new run."""
        if not self._file.exists():
            return None
        stored = read_model(self._file, Config)
        # Runs store their decision. "auto" is thus the default of a file without one, from version
        # 0.1, which did not cache.
        return _with_cache(stored, stored.training.cache_uncertainty is True)

    def step_log(self, index: int) -> Path:
        """Returns the TensorBoard folder of a step."""
        return self.path / "tensorboard" / f"step{index + 1}-{self.config.steps[index].loss}"

    def weights(self, index: int) -> Path:
        """Returns the weight file of a finished step."""
        return self.path / self.weights_name(index)

    def weights_name(self, index: int) -> str:
        """Returns the same path, relative to the folder."""
        return f"weights/step{index + 1}-{self.config.steps[index].loss}.weights.h5"

    def fused_name(self, index: int) -> str:
        """Returns the path of the same network without branches, relative to the folder."""
        return f"weights/fused/{Path(self.weights_name(index)).name}"

    def finished(self, index: int) -> bool:
        """Returns whether a step has finished with as many updates as the config asks for."""
        if not self.weights(index).exists():
            return False
        updates = self.config.steps[index].updates
        progress = read_progress(self.path)
        if progress is not None and progress.step == index:
            # An extension is running, unless it was stopped before it changed the config.
            return progress.update == progress.schedule_from == updates
        note = self.read_note(index)
        return note is None or note["updates"] >= updates

    def later_weights(self, index: int) -> list[Path]:
        """Returns the weight files of the steps after `index`."""
        later = (self.weights(i) for i in range(index + 1, len(self.config.steps)))
        return [path for path in later if path.exists()]

    def begun(self, index: int) -> bool:
        """Returns whether a step has begun."""
        progress = read_progress(self.path)
        return self.weights(index).exists() or (progress is not None and progress.step == index)

    def running_before(self, index: int) -> bool:
        """Returns whether the checkpoint belongs to a step before `index`."""
        progress = read_progress(self.path)
        return progress is not None and progress.step < index

    def read_note(self, index: int) -> dict[str, Any] | None:
        """Reads the entry of a step in metrics.json; None if it is missing."""
        steps = self.read_notes().get("steps", [])
        return next((note for note in steps if note["step"] == index + 1), None)

    def read_notes(self) -> dict[str, Any]:
        """Reads the current content of metrics.json; empty for a new run."""
        if not self.metrics.exists():
            return {}
        return read_json(self.metrics, "delete it and run the command again")

    def _check(self, stored: Config | None, extend: bool) -> None:
        existing = next(p for p in (self.path, *self.path.absolute().parents) if p.exists())
        if not os.access(existing, os.W_OK):
            raise UserError(
                f"{existing}: no permission to write: choose another folder", argument="output"
            )
        if stored is None:
            if self.path.exists() and not self.path.is_dir():
                raise UserError(
                    f"{self.path}: is a file; expected a new folder or a run folder",
                    argument="output",
                )
            if self.path.exists() and set(self.path.iterdir()) - {self.cache}:
                raise UserError(
                    f"{self.path}: is not empty and holds no run: choose a new folder or a run"
                    " folder",
                    argument="output",
                )
            return
        if any("updates_done" in step for step in self.read_notes().get("steps", [])):
            raise UserError(
                f"{self.path}: holds the bundle of a running step, which cannot be resumed: choose"
                " a new folder, and set training.start_from to this one to start from its weights",
                argument="output",
            )
        differences = list(_differences(stored.model_dump(), self.config.model_dump()))
        if not differences:
            return
        shortened = _shortened(self.config, stored).model_dump()
        unextendable = list(_differences(stored.model_dump(), shortened))
        if extend and not unextendable:
            return
        if not unextendable:
            remedy = "choose another folder, or extend the run"
        elif extend:
            remedy = "an extension may only add updates to steps"
        else:
            remedy = "choose another folder, or use the config of the run to resume it"
        key, old, new = (unextendable if extend else differences)[0]
        raise UserError(
            f"{self.path}: holds a run of another config ({key} was {old} and is now {new}):"
            f" {remedy}",
            argument="output" if unextendable else "extend",
        )


def with_note(notes: dict[str, Any], note: dict[str, Any]) -> dict[str, Any]:
    """Returns the content of metrics.json with the entry of a step, the last of its steps."""
    before = [step for step in notes["steps"] if step["step"] < note["step"]]
    return {**notes, "steps": [*before, note]}


def _with_cache(config: Config, cache_uncertainty: bool | str) -> Config:
    return config.changed(training=config.training.changed(cache_uncertainty=cache_uncertainty))


def _shortened(new: Config, old: Config) -> Config:
    """Returns `new` without the updates that it adds to the steps of `old`."""
    steps = list(new.steps)
    for index, (step, before) in enumerate(zip(new.steps, old.steps, strict=False)):
        steps[index] = step.changed(updates=min(step.updates, before.updates))
    return new.changed(steps=steps)


@contextmanager
def logging_to(file: Path, console: bool = True) -> Iterator[None]:
    """Appends the log of the package to a file inside the block, and optionally to the console."""
    logger = logging.getLogger("udl_tf")
    logger.setLevel(logging.INFO)
    to_file = logging.FileHandler(file, encoding="utf-8", errors="backslashreplace")
    to_console = logging.StreamHandler()
    to_file.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    to_console.setFormatter(logging.Formatter("%(message)s"))
    handlers = (to_console, to_file) if console else (to_file,)
    for handler in handlers:
        logger.addHandler(handler)
    propagate, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.propagate = propagate
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()


def _differences(old: Any, new: Any, key: str = "") -> Iterator[tuple[str, str, str]]:
    """Yields (key, old value, new value) for each value that differs, as JSON."""
    if isinstance(old, dict) and isinstance(new, dict):
        pairs = [(n, old.get(n), new.get(n)) for n in [*old, *(n for n in new if n not in old)]]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = [(str(i), a, b) for i, (a, b) in enumerate(zip(old, new, strict=True))]
    else:
        if old != new:
            yield key, json.dumps(old), json.dumps(new)
        return
    for name, a, b in pairs:
        yield from _differences(a, b, f"{key}.{name}".lstrip("."))
