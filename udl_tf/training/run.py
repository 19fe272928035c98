"""A whole run: every step of a config, then the evaluation."""

import time
from contextlib import nullcontext
from logging import getLogger
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from udl_tf.bundle import build_network, load_weights, save_weights
from udl_tf.config import Config, StepConfig
from udl_tf.data.pipeline import Waiting, training_batches
from udl_tf.data.store import cache_folder
from udl_tf.distribute import (
    device_names,
    is_chief,
    make_strategy,
    precision,
    several_workers,
    share_batches,
    worker_index,
)
from udl_tf.errors import Interrupted, UserError, nearest
from udl_tf.files import sha256, write_json
from udl_tf.hardware import measure_rates, updates_per_call, use_cores
from udl_tf.losses import LOSSES
from udl_tf.models import copy_weights
from udl_tf.training import callbacks, workers
from udl_tf.training.checkpoint import (
    Progress,
    delete_checkpoint,
    read_progress,
    restore_checkpoint,
    save_checkpoint,
)
from udl_tf.training.optimizers import make_optimizer
from udl_tf.training.origin import Origin, find_origin, take_over
from udl_tf.training.results import calibrate_theta, evaluate_run, write_bundle
from udl_tf.training.run_data import RunData, load_data
from udl_tf.training.run_folder import RunFolder, logging_to
from udl_tf.training.trainer import Trainer, make_pixel_weight
from udl_tf.training.uncertainty_cache import cached_log_scale
from udl_tf.training.validation import Validation

log = getLogger(__name__)


def train(config: Config, folder: Path | str) -> dict[str, Any]:
    """Trains every step that has not ended yet, evaluates, and returns metrics.json's content.

    Args:
        config: the resolved config.
        folder: the run folder, new or of the same config.

    Raises:
        UserError: for a config, data or folder that cannot work; its kind Diverged for a loss that
            is not finite.
        Interrupted: when stopped by Ctrl-C, with everything saved.
        Lost: when another worker of the run is gone.
    """
    use_cores()
    losses = [_make_loss(step, index) for index, step in enumerate(config.steps)]
    _check_weighting(config, losses)
    strategy = make_strategy(config.distribution)
    replicas = strategy.num_replicas_in_sync if strategy else 1
    if config.data.batch_size % replicas:
        raise UserError(
            f"data.batch_size {config.data.batch_size} cannot be split over {replicas} replicas:"
            " make it a multiple"
        )
    build_network(config.model, losses[0].needs_log_scale)  # a wrong option ends the run here

    def prepare() -> RunData:
        if is_chief(strategy):
            RunFolder(folder, config)  # a wrong folder ends the run before the data is read
        return load_data(config)

    def begin(own: Path) -> tuple[RunFolder, Origin | None, str, str]:
        run = RunFolder(own, config)
        origin = find_origin(config, run)
        policy, reason = _precision(config, run)
        run.create(policy)
        return run, origin, policy, reason

    with workers.one_run(strategy):
        data = workers.together(strategy, prepare)
        workers.check_alike(strategy, "config", repr(config))
        workers.check_alike(strategy, "set of training images", data.digest)
        with (
            workers.chief_first(strategy, Path(folder), begin) as (run, origin, policy, reason),
            logging_to(run.path / "log.txt", console=is_chief(strategy)),
        ):
            log.info("run folder: %s", run.path)
            log.info("device: %s, %s%s", device_names(strategy), policy, reason)
            log.info("data: %s", data.summary["text"])
            return _train_all(run, losses, data, policy, origin, strategy)


def _train_all(
    run: RunFolder,
    losses: list,
    data: RunData,
    policy: str,
    origin: Origin | None,
    strategy: tf.distribute.Strategy | None,
) -> dict[str, Any]:
    """Every step that has not ended yet, and the evaluation. Returns metrics.json's content."""
    notes = {"data": data.summary, "origin": None, "steps": []} | run.read_notes()
    if origin is not None:
        notes["origin"] = origin.history
        write_json(run.metrics, notes)
    for index in range(len(run.config.steps)):
        if not run.finished(index):
            with strategy.scope() if strategy else nullcontext():
                note, interrupted = _train_step(run, index, losses, data, policy, origin)
            notes["steps"] = [*notes["steps"][:index], note]
            write_json(run.metrics, notes)
            delete_checkpoint(run.path)
            if workers.any_worker(strategy, interrupted):
                raise Interrupted(_stopped(f"the end of {note['loss']}", run))
        write_bundle(run, index, losses, notes)
    if is_chief(strategy):
        calibrate_theta(run, data)
        evaluate_run(run, notes, data)
    workers.any_worker(
        strategy, False
    )  # all stay to the end: what fails here is begun again by all
    return notes


def _make_loss(step: StepConfig, index: int) -> keras.losses.Loss:
    if step.loss not in LOSSES:
        raise UserError(
            f"steps.{index}.loss {step.loss!r} is unknown, {nearest(step.loss, LOSSES)}"
        )
    try:
        return LOSSES[step.loss](**step.loss_options)
    except TypeError as error:
        raise UserError(f"steps.{index}.loss_options do not fit {step.loss}: {error}") from error


def _check_weighting(config: Config, losses: list) -> None:
    for index, step in enumerate(config.steps):
        if step.weighting is None or step.weighting.source != "uncertainty":
            continue
        if not losses[index - 1].needs_log_scale:
            raise UserError(
                f"steps.{index}.weighting.source is 'uncertainty', and the step before, with loss"
                f" {config.steps[index - 1].loss!r}, trains none: use 'esu' there or another source"
            )


def _precision(config: Config, run: RunFolder) -> tuple[str, str]:
    """(the policy to train in, why, for the log). A run goes on in the one that it began in."""
    policy = config.training.precision
    if policy != "auto":
        return policy, ""
    if run.precision is not None:
        return run.precision, " (auto, as before)"
    rates = measure_rates()
    return rates.precision, f" (auto: convolutions train at {rates})"


def _train_step(
    run: RunFolder,
    index: int,
    losses: list,
    data: RunData,
    policy: str,
    origin: Origin | None,
) -> tuple[dict[str, Any], bool]:
    """Trains one step from where it stands and keeps its weights.

    Returns:
        (its note for metrics.json, whether this process was asked to stop in the last update).
    """
    config, step, rhythm = run.config, run.config.steps[index], run.config.training
    name = f"step {index + 1}/{len(config.steps)} {step.loss}"
    keras.utils.set_random_seed(rhythm.seed + index)
    saved = read_progress(run.path)
    resumed = saved is not None and saved.step == index
    start = saved if saved is not None and resumed else Progress(index, update=0)
    with precision(policy):
        network = build_network(config.model, losses[index].needs_log_scale)
        before = _network_of(run, index - 1, losses) if index else None
        if before is not None:
            copy_weights(before, network)
        elif origin is not None:
            unlike = ", ".join(take_over(origin.model, network)) or "none"
            log.info("starts from %s; layers that begin anew: %s", rhythm.start_from, unlike)
        weighting = step.weighting
        cached, weight = False, None
        if weighting is not None:
            cached = rhythm.cache_uncertainty and weighting.source == "uncertainty"
            weight = make_pixel_weight(weighting, before, config.model.scale, cached)
        trainer = Trainer(network, losses[index], weight)
        strategy = tf.distribute.get_strategy()
        replicas = strategy.num_replicas_in_sync
        trainer.compile(
            make_optimizer(config.optimizer, step.updates, step.learning_rate, replicas),
            steps_per_execution=updates_per_call(
                rhythm.steps_per_execution,
                *(rhythm.interval, rhythm.log_every, step.updates, start.update),
            ),
        )

    if resumed:
        restore_checkpoint(run.path, trainer)
        log.info("%s goes on after update %d of %d", name, start.update, step.updates)
    else:
        log.info("%s: %d updates of %d patches", name, step.updates, config.data.batch_size)

    earlier = sum(s.updates for s in config.steps[:index])
    hr_map = None
    if cached:
        # Of several workers each makes its own maps, because they may share the folder.
        own = f"worker{worker_index(strategy)}" if several_workers(strategy) else ""
        folder = cache_folder(config.data) / own
        hr_map = cached_log_scale(before, data.training, folder)
    waiting = Waiting()

    def batches(shares: range, of: int) -> tf.data.Dataset:
        first = earlier + start.update
        source = data.training, config.data, rhythm.seed, first, hr_map
        return waiting.timed(training_batches(*source, shares, of))

    writer = tf.summary.create_file_writer(str(run.tensorboard / f"step{index + 1}-{step.loss}"))
    validation = Validation(data.held_out.pairs(), config.model.scale, network, before, writer)
    began = time.monotonic()
    clock = callbacks.Clock(start.update, step.updates)

    def progress() -> Progress:
        seconds = start.seconds + time.monotonic() - began
        return Progress(index, clock.update, seconds, start.validation + validation.history)

    size, ema = config.data.batch_size, config.optimizer.ema is not None
    watchers = [
        clock,
        callbacks.StopOnDivergence(clock, name, rhythm.interval),
        callbacks.ProgressLog(clock, name, size, rhythm.log_every, waiting, writer),
    ]
    chief = is_chief(strategy)
    if chief:
        watchers.append(callbacks.Validate(clock, rhythm.interval, validation, ema))
    saver = callbacks.Checkpoints(
        clock,
        rhythm.interval,
        lambda: not chief or save_checkpoint(run.path, progress(), trainer),
        lambda asked: workers.any_worker(strategy, asked),
    )
    watchers.append(saver)
    try:
        left = step.updates - start.update
        if left:
            shared = share_batches(batches)
            trainer.fit(shared, steps_per_epoch=left, shuffle=False, verbose=0, callbacks=watchers)
        else:
            # Killed after the last update: what fit does at its end, for the moving average.
            trainer.optimizer.finalize_variable_values(trainer.trainable_variables)
    except tf.errors.OpError:
        if data.training.error is None:
            raise
        raise data.training.error from None
    finally:
        saver.restore_handlers()
        writer.close()
    if clock.update < step.updates:
        raise Interrupted(_stopped(f"update {clock.update} of {name}", run))
    save_weights(network, run.weights(index))
    note = {
        "step": index + 1,
        "loss": step.loss,
        "updates": step.updates,
        "seconds": round(progress().seconds, 1),
        "weights": sha256(run.weights(index)),
        "validation": progress().validation,
    }
    return note, saver.interrupted


def _stopped(place: str, run: RunFolder) -> str:
    return f"stopped after {place}, saved in {run.path}: the same command goes on from there"


def _network_of(run: RunFolder, index: int, losses: list) -> keras.Model:
    """The network as step `index` left it."""
    network = build_network(run.config.model, losses[index].needs_log_scale)
    load_weights(network, run.weights(index))
    return network
