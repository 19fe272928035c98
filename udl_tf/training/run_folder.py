"""Paths and facts of a run folder.

config.json                 the resolved config; a folder belongs to one config
versions.json               Python and packages, backend and precision
log.txt  tensorboard/       log and curves
weights/step1-esu.weights.h5 ...   the network at the end of each step
model.json                  the bundle (udl_tf.saved.bundle)
checkpoint.npz              state of the running step
calibration/                calibration of theta: report.md, report.json, figures
metrics.json  results.md  figures/    evaluation
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras

from udl_tf._support.json_files import read_json, read_model, write_json
from udl_tf._support.versions import versions
from udl_tf.config import Config
from udl_tf.errors import UserError
from udl_tf.training.checkpoint import read_progress


class RunFolder:
    """A run folder, which must be new or belong to the config.

    Args:
        path: the folder.
        config: the resolved config.
        extend: accept a stored config that differs only by fewer updates in the last step that has
            begun.

    Raises:
        UserError: if the folder holds something else, or a run of another config.
    """

    def __init__(self, path: Path | str, config: Config, extend: bool = False):
        self.path = Path(path)
        self.config = config
        self._file = self.path / "config.json"
        self._versions = self.path / "versions.json"
        self._check(extend)
        self.figures = self.path / "figures"
        self.metrics = self.path / "metrics.json"

    def create(self, precision: str) -> None:
        """Creates the folder, unless it exists, and records the precision of the run."""
        if not self._file.exists():
            write_json(self._file, self.config.model_dump())
        if self.precision is None:
            facts = {"backend": keras.backend.backend(), "precision": precision}
            write_json(self._versions, {**versions(), **facts})
        for name in ("weights", "figures"):
            (self.path / name).mkdir(exist_ok=True)

    @property
    def precision(self) -> str | None:
        """Keras policy in which the run began; None for a new run."""
        try:
            return read_json(self._versions).get("precision")
        except (OSError, UserError):
            return None

    def stored_config(self) -> Config | None:
        """Returns the config of the run; None for a new run."""
        return read_model(self._file, Config) if self._file.exists() else None

    def step_log(self, index: int) -> Path:
        """Returns the TensorBoard folder of a step."""
        return self.path / "tensorboard" / f"step{index + 1}-{self.config.steps[index].loss}"

    def weights(self, index: int) -> Path:
        """Returns the weight file of a finished step."""
        return self.path / self.weights_name(index)

    def weights_name(self, index: int) -> str:
        """Returns the same path, relative to the folder."""
        return f"weights/step{index + 1}-{self.config.steps[index].loss}.weights.h5"

    def finished(self, index: int) -> bool:
        """Returns whether a step has finished: it has weights, and no checkpoint of an extension."""
        if not self.weights(index).exists():
            return False
        progress = read_progress(self.path)
        return progress is None or progress.step != index

    def last_begun(self) -> int | None:
        """Returns the index of the last step that has begun; None if none has."""
        progress = read_progress(self.path)
        if progress is not None:
            return progress.step
        begun = [i for i in range(len(self.config.steps)) if self.weights(i).exists()]
        return begun[-1] if begun else None

    def read_notes(self) -> dict[str, Any]:
        """Returns what metrics.json holds so far; empty for a new run."""
        if not self.metrics.exists():
            return {}
        return read_json(self.metrics, "delete it and run the command again")

    def _check(self, extend: bool) -> None:
        theirs = self.stored_config()
        if theirs is None:
            if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
                raise UserError(
                    f"{self.path}: is not empty and holds no run: choose a new folder or a run"
                    " folder",
                    argument="output",
                )
            return
        differences = list(_differences(theirs.model_dump(), self.config.model_dump()))
        if not differences:
            return
        key, old, new = differences[0]
        last = RunFolder(self.path, theirs).last_begun()
        longer = len(differences) == 1 and _is_longer(theirs, self.config, last)
        if longer and extend:
            return
        remedy = "choose another folder, or resume it with the config it has"
        if longer:
            remedy = "choose another folder, or extend the run"
        elif extend:
            remedy = "only the updates of the last step that has begun can be extended"
        raise UserError(
            f"{self.path}: holds a run of another config ({key} was {old} and is {new} now):"
            f" {remedy}",
            argument="extend" if longer else "output",
        )


def _is_longer(old: Config, new: Config, last: int | None) -> bool:
    """Whether the configs differ by more updates in the last step that has begun, or a later one."""
    changed = [i for i, (a, b) in enumerate(zip(old.steps, new.steps)) if a != b]
    first = 0 if last is None else last
    return all(
        i >= first and new.steps[i].updates > old.steps[i].updates for i in changed
    ) and bool(changed)


@contextmanager
def logging_to(file: Path, console: bool = True) -> Iterator[None]:
    """Inside, the package's log is appended to a file, and shown on the console if asked."""
    logger = logging.getLogger("udl_tf")
    logger.setLevel(logging.INFO)
    written, shown = logging.FileHandler(file, encoding="utf-8"), logging.StreamHandler()
    written.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    shown.setFormatter(logging.Formatter("%(message)s"))
    handlers = (shown, written) if console else (written,)
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
    """Yields (key, old value, new value) of everything that differs, as JSON."""
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
