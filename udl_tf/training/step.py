"""One step of a run: build, restore, fit, finish."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from logging import getLogger
from typing import Any

import keras
import tensorflow as tf

from udl_tf._support.files import sha256
from udl_tf._support.hardware import updates_per_call
from udl_tf.config import StepConfig
from udl_tf.data.pipeline import HRMap, Waiting, training_batches
from udl_tf.data.store import cache_folder
from udl_tf.distributed.group import Group
from udl_tf.errors import Interrupted
from udl_tf.models import copy_weights, precision
from udl_tf.saved.bundle import build_network, load_weights, save_weights
from udl_tf.training import callbacks
from udl_tf.training.checkpoint import (
    Progress,
    read_progress,
    restore_checkpoint,
    save_checkpoint,
)
from udl_tf.training.data import RunData
from udl_tf.training.optimizers import make_optimizer
from udl_tf.training.origin import Origin, take_over
from udl_tf.training.run_folder import RunFolder
from udl_tf.training.trainer import Trainer, make_pixel_weight
from udl_tf.training.uncertainty_cache import cached_log_scale
from udl_tf.training.validation import Validation

log = getLogger(__name__)


@dataclass(frozen=True)
class Session:
    """What all steps of a run share.

    Attributes:
        run: folder and config.
        losses: of each step.
        data: training, validation and test images.
        policy: Keras dtype policy to train in.
        origin: trained model that the first step starts from, or None.
        group: the processes that train.
        facts: lines that open the log.
    """

    run: RunFolder
    losses: list
    data: RunData
    policy: str
    origin: Origin | None
    group: Group
    facts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    """A step that is about to train.

    Attributes:
        session: of the run.
        index: of the step, from 0.
        start: where training continues; update 0 for a new step.
        frozen: the network of the step before; None in the first step.
        trainer: trains the step's network.
    """

    session: Session
    index: int
    start: Progress
    frozen: keras.Model | None
    trainer: Trainer

    @cached_property
    def config(self) -> StepConfig:
        """The step's part of the config."""
        return self.session.run.config.steps[self.index]

    @property
    def name(self) -> str:
        """Such as "step 1/2 esu"."""
        return f"step {self.index + 1}/{len(self.session.losses)} {self.config.loss}"


def train_step(session: Session, index: int) -> tuple[dict[str, Any], bool]:
    """Trains a step from where it stands, and saves its weights.

    Returns:
        (its note for metrics.json, whether this process was asked to stop in the last update).

    Raises:
        Interrupted: if it was asked to stop before.
    """
    run, config = session.run, session.run.config
    keras.utils.set_random_seed(config.training.seed + index)
    step = _build(session, index)
    if step.start.update:
        restore_checkpoint(run.path, step.trainer)
        log.info("%s resumes after update %d of %d", *_place(step))
    else:
        updates, patches = step.config.updates, config.data.batch_size
        log.info("%s: %d updates of %d patches", step.name, updates, patches)

    writer = tf.summary.create_file_writer(str(run.step_log(index)))
    validation = Validation(
        session.data.held_out.pairs(), config.model.scale, step.trainer.network, step.frozen, writer
    )
    began = time.monotonic()
    clock = callbacks.Clock(step.start.update, step.config.updates)

    def progress() -> Progress:
        seconds = time.monotonic() - began
        return step.start.advanced(clock.update, seconds, validation.history)

    waiting = Waiting()
    watchers, checkpoints = _callbacks(step, clock, progress, validation, waiting, writer)
    try:
        _fit(step, waiting, watchers)
    finally:
        checkpoints.restore_handlers()
        writer.close()
    if clock.update < step.config.updates:
        raise Interrupted(stopped(f"update {clock.update} of {step.name}", run))
    save_weights(step.trainer.network, run.weights(index))
    return _note(step, progress()), checkpoints.interrupted


def _place(step: Step) -> tuple[str, int, int]:
    return step.name, step.start.update, step.config.updates


def _build(session: Session, index: int) -> Step:
    """Builds the networks and the trainer of a step; weights are those of the step before."""
    run, losses, config = session.run, session.losses, session.run.config
    step, training = config.steps[index], config.training
    saved = read_progress(run.path)
    start = saved if saved is not None and saved.step == index else Progress(index, update=0)
    with precision(session.policy):
        network = build_network(config.model, losses[index].needs_log_scale)
        frozen = _network_of(session, index - 1) if index else None
        if frozen is not None:
            copy_weights(frozen, network)
        elif session.origin is not None:
            fresh = ", ".join(take_over(session.origin.model, network)) or "none"
            log.info("starts from %s; layers with fresh weights: %s", training.start_from, fresh)
        weight = None
        if step.weighting is not None:
            cached = _caches_uncertainty(session, index)
            weight = make_pixel_weight(step.weighting, frozen, config.model.scale, cached)
        trainer = Trainer(network, losses[index], weight)
        scheduled = step.updates - start.schedule_from
        trainer.compile(
            make_optimizer(config.optimizer, scheduled, step.learning_rate, session.group.replicas),
            steps_per_execution=updates_per_call(
                training.steps_per_execution,
                *(training.interval, training.log_every, step.updates, start.update),
            ),
        )
    return Step(session, index, start, frozen, trainer)


def _network_of(session: Session, index: int) -> keras.Model:
    """Returns the trained network of a finished step."""
    network = build_network(session.run.config.model, session.losses[index].needs_log_scale)
    load_weights(network, session.run.weights(index))
    return network


def _caches_uncertainty(session: Session, index: int) -> bool:
    weighting = session.run.config.steps[index].weighting
    wanted = session.run.config.training.cache_uncertainty
    return wanted and weighting is not None and weighting.source == "uncertainty"


def _callbacks(
    step: Step,
    clock: callbacks.Clock,
    progress: Callable[[], Progress],
    validation: Validation,
    waiting: Waiting,
    writer: Any,
) -> tuple[list[keras.callbacks.Callback], callbacks.Checkpoints]:
    """Returns (all callbacks in order, the one that saves checkpoints)."""
    run, group, config = step.session.run, step.session.group, step.session.run.config
    interval, patches = config.training.interval, config.data.batch_size
    every = config.training.log_every
    checkpoints = callbacks.Checkpoints(
        clock,
        interval,
        lambda: not group.writes or save_checkpoint(run.path, progress(), step.trainer),
        group.any,
    )
    watchers = [
        clock,
        callbacks.StopOnDivergence(clock, step.name, interval),
        callbacks.ProgressLog(clock, step.name, patches, every, waiting, writer),
    ]
    if group.writes:
        averaged = config.optimizer.ema is not None
        watchers.append(callbacks.Validate(clock, interval, validation, averaged))
    return [*watchers, checkpoints], checkpoints


def _fit(step: Step, waiting: Waiting, watchers: list[keras.callbacks.Callback]) -> None:
    """Trains until the step has all its updates or is asked to stop."""
    session, trainer = step.session, step.trainer
    config, data = session.run.config, session.data.training
    left = step.config.updates - step.start.update
    if not left:
        # Killed after the last update: do what fit does at its end for the moving average.
        trainer.optimizer.finalize_variable_values(trainer.trainable_variables)
        return
    hr_map: HRMap | None = None
    if step.frozen is not None and _caches_uncertainty(session, step.index):
        folder = session.group.own_folder(cache_folder(config.data))
        hr_map = cached_log_scale(step.frozen, data, folder)
    first = step.start.update + sum(s.updates for s in config.steps[: step.index])

    def batches(shares: range, of: int) -> tf.data.Dataset:
        source = data, config.data, config.training.seed, first, hr_map
        return waiting.timed(training_batches(*source, shares, of))

    shared = session.group.share(batches)
    try:
        trainer.fit(shared, steps_per_epoch=left, shuffle=False, verbose=0, callbacks=watchers)
    except tf.errors.OpError:
        if data.error is None:
            raise
        raise data.error from None


def _note(step: Step, progress: Progress) -> dict[str, Any]:
    """What metrics.json says about a finished step."""
    extended = {"extended_from": progress.extended_from} if progress.extended_from else {}
    return {
        "step": step.index + 1,
        "loss": step.config.loss,
        "updates": step.config.updates,
        **extended,
        "seconds": round(progress.seconds, 1),
        "weights": sha256(step.session.run.weights(step.index)),
        "validation": progress.validation,
    }


def stopped(place: str, run: RunFolder) -> str:
    """Returns the line that a stopped run ends with."""
    return f"stopped after {place}, saved in {run.path}: run the same command again to resume"
