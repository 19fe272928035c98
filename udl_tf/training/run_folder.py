"""A run folder: everything a run leaves, and what it needs to go on.

config.json                 the resolved config; a folder belongs to one config
versions.json               Python and packages, backend and precision
log.txt  tensorboard/       what happened
weights/step1-esu.weights.h5 ...   the network at the end of each step
model.json                  the bundle (udl_tf.bundle)
checkpoint.npz              the state of the running step
calibration/                what theta is worth: report.md, report.json, figures
metrics.json  results.md  figures/    the result
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras

from udl_tf.config import Config
from udl_tf.config_file import parse_config
from udl_tf.errors import UserError
from udl_tf.files import write_json
from udl_tf.versions import versions


class RunFolder:
    """The paths of a run folder, which `create` makes; it must be new or belong to the config.

    Args:
        path: the folder.
        config: the resolved config.

    Raises:
        UserError: if the folder holds something else or a run of another config.
    """

    def __init__(self, path: Path | str, config: Config):
        self.path = Path(path)
        self.config = config
        self._file = self.path / "config.json"
        self._versions = self.path / "versions.json"
        self._check()
        self.tensorboard = self.path / "tensorboard"
        self.figures = self.path / "figures"
        self.metrics = self.path / "metrics.json"

    def create(self, precision: str) -> None:
        """Makes the folder, unless it is there already, and notes the precision of the run."""
        if not self._file.exists():
            write_json(self._file, self.config.model_dump())
        if self.precision is None:
            facts = {"backend": keras.backend.backend(), "precision": precision}
            write_json(self._versions, {**versions(), **facts})
        for name in ("weights", "figures"):
            (self.path / name).mkdir(exist_ok=True)

    @property
    def precision(self) -> str | None:
        """The Keras policy that the run began in; None for a new run."""
        try:
            return json.loads(self._versions.read_text(encoding="utf-8"))["precision"]
        except (OSError, ValueError, KeyError):
            return None

    def weights(self, step: int) -> Path:
        """Where the network of a step is kept once the step has ended."""
        return self.path / self.weights_name(step)

    def weights_name(self, step: int) -> str:
        """The same, relative to the folder."""
        return f"weights/step{step + 1}-{self.config.steps[step].loss}.weights.h5"

    def finished(self, step: int) -> bool:
        """Whether a step has ended."""
        return self.weights(step).exists()

    def read_notes(self) -> dict[str, Any]:
        """What metrics.json holds so far; empty for a new run."""
        if not self.metrics.exists():
            return {}
        try:
            return dict(json.loads(self.metrics.read_text(encoding="utf-8")))
        except (ValueError, TypeError):
            raise UserError(
                f"{self.metrics}: damaged: delete it and run the command again"
            ) from None

    def _check(self) -> None:
        if not self._file.exists():
            if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
                raise UserError(
                    f"{self.path}: is not empty and holds no run; expected a new folder or a run"
                    " folder: choose another one"
                )
            return
        try:
            content = json.loads(self._file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{self._file}: not valid JSON ({error})") from None
        theirs = parse_config(content, str(self._file)).model_dump()
        mine = self.config.model_dump()
        if theirs != mine:
            key, old, new = next(_differences(theirs, mine))
            raise UserError(
                f"{self.path}: holds a run of another config ({key} is {old} there and {new} now):"
                " choose another folder, or go on with the config it has"
            )


@contextmanager
def logging_to(file: Path, console: bool = True) -> Iterator[None]:
    """Inside, the package's log goes to the end of a file, and to the console if asked."""
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


def _differences(old: Any, new: Any, key: str = ""):
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*old, *(n for n in new if n not in old)]:
            yield from _differences(old.get(name), new.get(name), f"{key}.{name}".lstrip("."))
    elif old != new:
        yield key, json.dumps(old), json.dumps(new)
