"""One step of a run: builds its networks, restores a checkpoint, trains, saves the weights."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from logging import getLogger
from pathlib import Path
from typing import Any

import keras

from udl_tf._support.files import sha256
from udl_tf._support.hardware import updates_per_call
from udl_tf.config import Config, StepConfig
from udl_tf.data.draws import HRMap
from udl_tf.data.pipeline import Waiting, make_delivery
from udl_tf.data.resident import resident_set
from udl_tf.distributed.group import Group
from udl_tf.errors import Interrupted
from udl_tf.models import copy_weights, freeze_all_but_head, fused, precision
from udl_tf.models.weight_files import save_weights
from udl_tf.tasks.pixel_weights import make_pixel_weight
from udl_tf.training import callbacks
from udl_tf.training.checkpoint import (
    Progress,
    read_progress,
    restore_checkpoint,
    save_checkpoint,
)
from udl_tf.training.data import RunData
from udl_tf.training.networks import build_step_network, read_step_network
from udl_tf.training.optimizers import make_optimizer
from udl_tf.training.origin import Origin, take_over
from udl_tf.training.progress_log import ProgressLog
from udl_tf.training.run_folder import RunFolder
from udl_tf.training.running import write_running_bundle
from udl_tf.training.tensorboard import TensorBoardLog
from udl_tf.training.trainer import Trainer
from udl_tf.training.uncertainty_cache import cache_path, cached_log_scale
from udl_tf.training.validation import Validation

log = getLogger(__name__)


@dataclass(frozen=True)
class Session:
    """Everything that the steps of a run share.

    Attributes:
        run: run folder with the config.
        folder: the run folder as given to `train`; `run` is a copy of it where another machine
            writes.
        losses: losses of all steps.
        data: training, validation and test images.
        policy: Keras dtype policy to train in.
        origin: trained model that the first step starts from, or None.
        group: processes that train the run.
        facts: first lines of the log.
    """

    run: RunFolder
    folder: Path
    losses: list
    data: RunData
    policy: str
    origin: Origin | None
    group: Group
    facts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    """A step that is ready to train.

    Attributes:
        session: session of the run.
        index: index of the step, from 0.
        start: progress at which training starts; update 0 for a new step.
        frozen: network of the previous step, without branches; None in the first step.
        trainer: model that trains the network of the step.
    """

    session: Session
    index: int
    start: Progress
    frozen: keras.Model | None
    trainer: Trainer

    @cached_property
    def config(self) -> StepConfig:
        """Section of the step in the config."""
        return self.session.run.config.steps[self.index]

    @property
    def name(self) -> str:
        """Name for log lines, such as "step 1/3 esu"."""
        head = " (uncertainty head)" if self.config.train == "uncertainty_head" else ""
        int8 = " in simulated int8" if self.config.quantize else ""
        return f"step {self.index + 1}/{len(self.session.losses)} {self.config.loss}{head}{int8}"


def train_step(session: Session, index: int) -> tuple[dict[str, Any], bool]:
    """Trains a step, from its checkpoint if it has one, and saves its weights.

    Returns:
        (entry for metrics.json, whether this process was asked to stop during the last update).

    Raises:
        Interrupted: if a process was asked to stop before the last update.
    """
    run, config = session.run, session.run.config
    keras.utils.set_random_seed(config.training.seed + index)
    step = _build(session, index)
    if step.start.update:
        restore_checkpoint(run.path, step.trainer)
    log.info("%s: %s", step.name, _beginning(step))
    held_out, network = session.data.held_out, step.trainer.network
    held_out.load_all()  # may raise UserError, with no file open
    board = TensorBoardLog(run.step_log(index), _updates_before(config, index))
    validation = Validation(held_out, network, step.frozen, board, config.evaluation.bands)
    started = time.monotonic()
    clock = callbacks.Clock(step.start.update, step.config.updates)

    def progress() -> Progress:
        seconds = time.monotonic() - started
        return step.start.advanced(clock.update, seconds, validation.history)

    waiting = Waiting()
    observers, checkpoints = _callbacks(step, clock, progress, validation, waiting, board)
    try:
        _fit(step, waiting, observers)
    finally:
        checkpoints.restore_handlers()
        board.close()
    if clock.update < step.config.updates:
        raise Interrupted(stopped(f"update {clock.update} of {step.name}", run))
    save_weights(network, run.weights(index))
    note = _note(step, progress()) | {"weights": sha256(run.weights(index))}
    return note, checkpoints.interrupted


def _updates_before(config: Config, index: int) -> int:
    """Returns the number of updates of the steps before step `index`."""
    return sum(step.updates for step in config.steps[:index])


def _beginning(step: Step) -> str:
    """Describes where the training of a step starts, for a log line."""
    start, updates = step.start, step.config.updates
    if not start.update:
        return f"{updates} updates of {step.session.run.config.data.batch_size} patches"
    if start.update == start.schedule_from:
        again = step.session.run.later_weights(step.index)
        return (
            f"extended from update {start.update}, new schedule over the last"
            f" {updates - start.update} updates"
            + ("; later steps will be trained again" if again else "")
        )
    return f"resumes after update {start.update} of {updates}"


def _build(session: Session, index: int) -> Step:
    """Builds the networks and the trainer of a step, with the weights of the previous step."""
    run, losses, config = session.run, session.losses, session.run.config
    step, training = config.steps[index], config.training
    saved = read_progress(run.path)
    start = saved if saved is not None and saved.step == index else Progress(index, update=0)
    with precision("float32" if step.quantize else session.policy):
        network = build_step_network(config, index, losses[index])
        frozen = None
        if index:
            previous = read_step_network(run, index - 1, losses[index - 1])
            copy_weights(previous, network)
            frozen = fused(previous)
        elif session.origin is not None:
            taken = take_over(session.origin, network)
            log.info("starts from %s; %s", training.start_from, taken)
        if step.train == "uncertainty_head":
            freeze_all_but_head(network)
        weight = None
        if step.weighting is not None:
            cached = _caches_uncertainty(session, index)
            weight = make_pixel_weight(step.weighting, frozen, config.model.scale, cached)
        trainer = Trainer(network, losses[index], weight, step.quantize)
        scheduled = max(1, step.updates - start.schedule_from)
        trainer.compile(
            make_optimizer(config.optimizer, scheduled, step.learning_rate, session.group.replicas),
            steps_per_execution=updates_per_call(
                training.steps_per_execution,
                *(training.interval, training.log_every, step.updates, start.update),
            ),
        )
    return Step(session, index, start, frozen, trainer)


def _caches_uncertainty(session: Session, index: int) -> bool:
    """Returns whether a step reads s from a cache instead of running the frozen network."""
    config = session.run.config
    assert config.training.cache_uncertainty != "auto"  # RunFolder.create has decided
    return config.training.cache_uncertainty and config.steps[index].weighted_by_uncertainty


def _callbacks(
    step: Step,
    clock: callbacks.Clock,
    progress: Callable[[], Progress],
    validation: Validation,
    waiting: Waiting,
    board: TensorBoardLog,
) -> tuple[list[keras.callbacks.Callback], callbacks.Checkpoints]:
    """Returns (callbacks of `fit` in order, the one that saves checkpoints)."""
    group, config = step.session.group, step.session.run.config
    interval, patches = config.training.interval, config.data.batch_size
    every = config.training.log_every
    checkpoints = callbacks.Checkpoints(
        clock,
        interval,
        lambda: not group.writes or _save(step, progress()),
        group.any,
    )
    before = [
        clock,
        callbacks.StopOnDivergence(clock, step.name, interval),
        ProgressLog(clock, step.name, patches, every, waiting, board),
    ]
    if group.writes:
        before.append(callbacks.Validate(clock, step.name, interval, validation))
    return [*before, checkpoints], checkpoints


def _save(step: Step, progress: Progress) -> bool:
    """Saves the checkpoint and the bundle of the running step; see save_checkpoint."""
    run, trainer = step.session.run, step.trainer
    if not save_checkpoint(run.path, progress, trainer):
        return False
    note = _note(step, progress) | {"updates_done": progress.update}
    with callbacks.averaged_weights(trainer):
        write_running_bundle(run, step.session.losses, progress, trainer.network, note)
    return True


def _fit(step: Step, waiting: Waiting, observers: list[keras.callbacks.Callback]) -> None:
    """Trains until the step has all its updates or a process is asked to stop."""
    session, trainer = step.session, step.trainer
    config, data = session.run.config, session.data.training
    left = step.config.updates - step.start.update
    if not left:
        # Killed after the last update: as `fit` at its end, replace the weights by their average,
        # which an optimizer without updates does not have.
        if step.start.update > step.start.schedule_from:
            trainer.optimizer.finalize_variable_values(trainer.trainable_variables)
        return
    cache: Path | None = None
    hr_map: HRMap | None = None
    if step.frozen is not None and _caches_uncertainty(session, step.index):
        folder = session.group.own_folder(session.data.cache)
        cache = cache_path(step.frozen, data, folder, session.folder)
        hr_map = cached_log_scale(step.frozen, data, cache)
    first = step.start.update + _updates_before(config, step.index)
    source = data, config.data, config.training.seed, first, hr_map
    if session.group.may_hold_data:
        trainer.resident = resident_set(data, config.data, hr_map)
    count = trainer.steps_per_execution
    with make_delivery(*source, waiting, trainer.resident, count) as delivery:
        batches = session.group.share(delivery.batches)
        trainer.fit(
            batches,
            steps_per_epoch=left,
            shuffle=False,
            verbose=0,
            callbacks=callbacks.CallbackList(observers, add_history=True, model=trainer),
        )
    if cache is not None and not trainer.stop_training:
        shutil.rmtree(cache, ignore_errors=True)


def _note(step: Step, progress: Progress) -> dict[str, Any]:
    """Returns the entry of a step in metrics.json."""
    extended = {"extended_from": progress.extended_from} if progress.extended_from else {}
    return {
        "step": step.index + 1,
        "loss": step.config.loss,
        "updates": step.config.updates,
        **extended,
        "seconds": round(progress.seconds, 1),
        "validation": progress.validation,
    }


def stopped(place: str, run: RunFolder) -> str:
    """Returns the message of a run that was asked to stop."""
    return f"stopped after {place}, saved in {run.path}: run the same command again to resume"
