"""Checkpoint of a running step, from which training resumes exactly.

Patches are a pure function of (seed, update) and the networks have no random layers. So the whole
state is the number of updates, the weights, and the variables of the optimizer (moments, moving
averages, iteration).
"""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import keras
import numpy as np

from udl_tf._support.files import complete_file
from udl_tf.errors import UserError

FILE = "checkpoint.npz"


@dataclass(frozen=True)
class Progress:
    """Progress of a step.

    Attributes:
        step: index of the step, from 0.
        update: updates done.
        seconds: time spent on them.
        validation: results of the validations so far.
        extended_from: for each extension of the step, the updates done before it.
    """

    step: int
    update: int
    seconds: float = 0.0
    validation: list[dict[str, float]] = field(default_factory=list)
    extended_from: list[int] = field(default_factory=list)

    @property
    def schedule_from(self) -> int:
        """Update at which the learning rate schedule starts: that of the last extension."""
        return self.extended_from[-1] if self.extended_from else 0

    def advanced(self, update: int, seconds: float, validation: list) -> "Progress":
        """Returns the progress after more updates, seconds and validations."""
        return replace(
            self,
            update=update,
            seconds=self.seconds + seconds,
            validation=self.validation + validation,
        )


def save_checkpoint(folder: Path, progress: Progress, trainer: keras.Model) -> bool:
    """Saves the state of a trainer in place of the previous checkpoint.

    Returns:
        False if a value is not finite; the previous checkpoint then stays.
    """
    variables = _variables(trainer)
    arrays = {name: keras.ops.convert_to_numpy(v) for name, v in variables.items()}
    if not all(np.isfinite(array).all() for array in arrays.values()):
        return False
    write_checkpoint(folder, progress, arrays)
    return True


def write_checkpoint(folder: Path, progress: Progress, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a checkpoint of arrays, named as `restore_checkpoint` expects them."""
    text = np.array(json.dumps(asdict(progress)))
    with complete_file(folder / FILE) as temporary:
        np.savez(temporary, allow_pickle=False, progress=text, **arrays)


def read_progress(folder: Path) -> Progress | None:
    """Reads the progress of the step that the checkpoint belongs to; None without a checkpoint.

    Raises:
        UserError: if the file is damaged.
    """
    if not (folder / FILE).exists():
        return None
    return Progress(**json.loads(str(_read(folder, ("progress",))["progress"])))


def restore_checkpoint(folder: Path, trainer: keras.Model) -> None:
    """Restores the saved state into a trainer built from the same config.

    At the start of an extension the checkpoint has no optimizer variables; the optimizer then
    starts afresh.

    Raises:
        UserError: if the file is damaged or belongs to another network or optimizer.
    """
    content = _read(folder)
    saved_optimizer = any(name.startswith("optimizer") for name in content)
    for name, variable in _variables(trainer).items():
        if name.startswith("optimizer") and not saved_optimizer:
            continue
        if name not in content or content[name].shape != tuple(variable.shape):
            raise UserError(
                f"{folder / FILE}: belongs to another network or optimizer ({variable.path} does"
                " not match): choose a new run folder",
                argument="output",
            )
        variable.assign(content[name])


def weight_arrays(network: keras.Model) -> dict[str, np.ndarray]:
    """Returns the weights of a network, named as in a checkpoint."""
    return {f"weight{i}": keras.ops.convert_to_numpy(v) for i, v in enumerate(network.variables)}


def read_weight_arrays(folder: Path) -> dict[str, np.ndarray]:
    """Reads the weights of the checkpoint, without the variables of the optimizer.

    Raises:
        UserError: if the file is damaged.
    """
    return {name: x for name, x in _read(folder).items() if name.startswith("weight")}


def delete_checkpoint(folder: Path) -> None:
    """Deletes the checkpoint of a finished step."""
    (folder / FILE).unlink(missing_ok=True)


def _read(folder: Path, names: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    try:
        with open(folder / FILE, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            content = {name: file[name] for name in names or file.files}
        json.loads(str(content["progress"]))
        return content
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        raise UserError(
            f"{folder / FILE}: damaged: delete it and run the same command again, which restarts"
            " the step"
        ) from None


def _variables(trainer: keras.Model) -> dict[str, keras.Variable]:
    optimizer = trainer.optimizer
    if not optimizer.built:
        optimizer.build(trainer.trainable_variables)
    named = {f"weight{i}": v for i, v in enumerate(trainer.network.variables)}
    return named | {f"optimizer{i}": v for i, v in enumerate(optimizer.variables)}
