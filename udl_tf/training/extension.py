"""Extension of a run: a step continues with a new schedule, and later steps are trained again."""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from udl_tf._support.json_files import write_json
from udl_tf.config import Config
from udl_tf.training.checkpoint import (
    Progress,
    read_progress,
    read_weight_arrays,
    weight_arrays,
    write_checkpoint,
)
from udl_tf.training.networks import read_step_network
from udl_tf.training.run_folder import RunFolder


def extend_run(folder: Path, config: Config, losses: list) -> None:
    """Prepares a run folder for more updates; does nothing if its config has as many already.

    The first step with more updates gets a checkpoint of its last weights without optimizer
    variables, if it has begun; then the new config is written. If this is interrupted in between,
    another call repeats it. Bundle and weights stay as they are until the step has finished again.
    If an earlier step is running, its checkpoint stays, because the later step is trained again
    anyway.

    Args:
        folder: the run folder.
        config: config with more updates.
        losses: losses of all steps.
    """
    extended = RunFolder(folder, config, extend=True)
    before = extended.stored_config()
    if before is None:
        return
    run = RunFolder(folder, before)
    pairs = enumerate(zip(before.steps, config.steps, strict=True))
    index = next((i for i, (old, new) in pairs if old != new), None)
    if index is not None and run.begun(index) and not run.running_before(index):
        progress, arrays = _last_state(run, index, losses[index])
        if progress.update != progress.schedule_from:
            lengths = [*progress.extended_from, progress.update]
            write_checkpoint(folder, replace(progress, extended_from=lengths), arrays)
    write_json(folder / "config.json", extended.config.model_dump())


def _last_state(
    run: RunFolder, index: int, loss: keras.losses.Loss
) -> tuple[Progress, dict[str, np.ndarray]]:
    """Returns the progress of a step and its weights, from its checkpoint or its weight file."""
    progress = read_progress(run.path)
    if progress is not None and progress.step == index:
        return progress, read_weight_arrays(run.path)
    network = read_step_network(run, index, loss)
    progress = Progress(index, run.config.steps[index].updates)
    if note := run.read_note(index):
        known = {key: note[key] for key in ("seconds", "validation")}
        extended = note.get("extended_from", [])
        progress = Progress(index, note["updates"], extended_from=extended, **known)
    return progress, weight_arrays(network)
