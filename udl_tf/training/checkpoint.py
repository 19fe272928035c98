"""The state of a running step on disk: what exact resume needs, and nothing else.

Patches are a pure function of (seed, update) and the networks have no random layers, so weights,
optimizer variables (moments, moving averages, iteration) and the counter are the whole state.
"""

import json
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

import keras
import numpy as np

from udl_tf.errors import UserError
from udl_tf.files import complete_file

FILE = "checkpoint.npz"


@dataclass(frozen=True)
class Progress:
    """Where a run stands: the step's index, and its updates, seconds and validations so far."""

    step: int
    update: int
    seconds: float = 0.0
    validation: list[dict[str, float]] = field(default_factory=list)


def save_checkpoint(folder: Path, progress: Progress, trainer: keras.Model) -> bool:
    """Writes the state, replacing the last one in one go.

    Returns:
        False, with the last checkpoint kept, if a weight is not finite.
    """
    arrays = _arrays(trainer)
    if not all(np.isfinite(array).all() for array in arrays.values()):
        return False
    arrays["progress"] = np.array(json.dumps(asdict(progress)))
    with complete_file(folder / FILE) as temporary:
        np.savez(temporary, allow_pickle=False, **arrays)
    return True


def read_progress(folder: Path) -> Progress | None:
    """Where the checkpoint stands; None if there is none."""
    if not (folder / FILE).exists():
        return None
    return Progress(**json.loads(str(_read(folder)["progress"])))


def restore_checkpoint(folder: Path, trainer: keras.Model) -> None:
    """Puts the saved state into a trainer built from the same config.

    Raises:
        UserError: if the file is damaged or of another network or optimizer.
    """
    content = _read(folder)
    for name, variable in _variables(trainer).items():
        if name not in content or content[name].shape != tuple(variable.shape):
            raise UserError(
                f"{folder / FILE}: holds the state of another network or optimizer"
                f" ({variable.path} does not fit): use a new --run-dir"
            )
        variable.assign(content[name])


def delete_checkpoint(folder: Path) -> None:
    """Removes the state of a step that has ended."""
    (folder / FILE).unlink(missing_ok=True)


def _read(folder: Path) -> dict[str, np.ndarray]:
    try:
        with open(folder / FILE, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            content = {name: file[name] for name in file.files}
        json.loads(str(content["progress"]))
        return content
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        raise UserError(
            f"{folder / FILE}: damaged: delete it, and the same command begins its step again"
        ) from None


def _variables(trainer: keras.Model) -> dict[str, keras.Variable]:
    optimizer = trainer.optimizer
    if not optimizer.built:
        optimizer.build(trainer.trainable_variables)
    named = {f"weight{i}": v for i, v in enumerate(trainer.network.variables)}
    return named | {f"optimizer{i}": v for i, v in enumerate(optimizer.variables)}


def _arrays(trainer: keras.Model) -> dict[str, np.ndarray]:
    variables = _variables(trainer)
    return {name: keras.ops.convert_to_numpy(variable) for name, variable in variables.items()}
