"""A whole run: every step of a config, then the evaluation."""

import time
from contextlib import nullcontext
from logging import getLogger
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from udl_tf.bundle import (
    Manifest,
    MeanFile,
    UncertaintyFile,
    build_network,
    load,
    load_weights,
    read_manifest,
    save_weights,
    write_manifest,
)
from udl_tf.config import Config, StepConfig
from udl_tf.data.pipeline import Waiting, training_batches
from udl_tf.data.store import cache_folder
from udl_tf.distribute import device_names, make_strategy, precision
from udl_tf.errors import Interrupted, UserError, nearest
from udl_tf.evaluation import evaluate, results_table
from udl_tf.files import write_json, write_text
from udl_tf.hardware import measure_rates, updates_per_call, use_cores
from udl_tf.losses import LOSSES
from udl_tf.models import copy_weights
from udl_tf.super_resolver import SuperResolver
from udl_tf.training import callbacks
from udl_tf.training.checkpoint import (
    Progress,
    delete_checkpoint,
    read_progress,
    restore_checkpoint,
    save_checkpoint,
)
from udl_tf.training.origin import find_origin, take_over
from udl_tf.training.run_data import RunData, load_data
from udl_tf.training.run_folder import RunFolder, logging_to
from udl_tf.training.trainer import Trainer, make_optimizer, make_pixel_weight
from udl_tf.training.uncertainty_cache import cached_log_scale
from udl_tf.training.validation import Validation
from udl_tf.uncertainty_fit import calibrate, measure
from udl_tf.uncertainty_report import judge, write_report

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
    run = RunFolder(folder, config)
    origin = find_origin(config, run)
    data = load_data(config)
    policy, reason = _precision(config, run)
    run.create(policy)
    with logging_to(run.path / "log.txt"):
        log.info("run folder: %s", run.path)
        log.info("device: %s, %s%s", device_names(strategy), policy, reason)
        log.info("data: %s", data.summary["text"])
        notes = {"data": data.summary, "steps": run.read_notes().get("steps", [])}
        for index in range(len(config.steps)):
            if not run.finished(index):
                with strategy.scope() if strategy else nullcontext():
                    note, interrupted = _train_step(run, index, losses, data, policy, origin)
                notes["steps"] = [*notes["steps"][:index], note]
                write_json(run.metrics, notes)
                delete_checkpoint(run.path)
                if interrupted:
                    raise Interrupted(_stopped(f"the end of {note['loss']}", run))
            _write_bundle(run, index, losses, data)
        _calibrate(run, data)
        return _judge(run, notes, data)


def _calibrate(run: RunFolder, data: RunData) -> None:
    """Fits the bundle's theta, if it has one, to the held-out images and writes the report."""
    model, name = load(run.path), "held-out training images"
    if not model.has_uncertainty:
        return
    samples = measure(model, data.held_out.pictures, baselines=False)
    calibration = calibrate(samples, f"{len(samples)} {name}")
    manifest = read_manifest(run.path).model_copy(update={"calibration": calibration})
    write_manifest(run.path, manifest)
    results = [judge(name, samples, calibration, seen=True)]
    write_report(run.path / "calibration", results, calibration, run.path.name)
    log.info("calibration of theta: %s", run.path / "calibration" / "report.md")


def _judge(run: RunFolder, notes: dict[str, Any], data: RunData) -> dict[str, Any]:
    """Evaluates what was trained: metrics, table and figures. Returns the whole metrics."""
    figures = run.config.evaluation.figures
    notes["results"] = evaluate(load(run.path), data.test, run.figures, figures)
    write_json(run.metrics, notes)
    table = results_table(notes["results"], run.path.name)
    write_text(run.path / "results.md", f"{table}\nTrained on {data.summary['text']}.\n")
    log.info("\n%s", table)
    if data.summary["bundled"]:
        log.info("Trained on the few bundled images: a rehearsal, not a network for use.")
    log.info("figures: %s", run.figures)
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
    origin: SuperResolver | None,
) -> tuple[dict[str, Any], bool]:
    """Trains one step from where it stands and keeps its weights.

    Returns:
        (its note for metrics.json, whether a person asked to stop during the last update).
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
            unlike = ", ".join(take_over(origin, network)) or "none"
            log.info("starts from %s; layers that begin anew: %s", rhythm.start_from, unlike)
        weighting = step.weighting
        cached, weight = False, None
        if weighting is not None:
            cached = rhythm.cache_uncertainty and weighting.source == "uncertainty"
            weight = make_pixel_weight(weighting, before, config.model.scale, cached)
        trainer = Trainer(network, losses[index], weight)
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
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
    hr_map = cached_log_scale(before, data.training, cache_folder(config.data)) if cached else None
    batches = training_batches(
        data.training, config.data, rhythm.seed, earlier + start.update, hr_map
    )
    waiting = Waiting()
    writer = tf.summary.create_file_writer(str(run.tensorboard / f"step{index + 1}-{step.loss}"))
    validation = Validation(data.held_out.pairs(), config.model.scale, network, before, writer)
    began = time.monotonic()
    clock = callbacks.Clock(start.update, step.updates)

    def progress() -> Progress:
        seconds = start.seconds + time.monotonic() - began
        return Progress(index, clock.update, seconds, start.validation + validation.history)

    saver = callbacks.Checkpoints(
        clock, rhythm.interval, lambda: save_checkpoint(run.path, progress(), trainer)
    )
    watchers = [
        clock,
        callbacks.StopOnDivergence(clock, name, rhythm.interval),
        callbacks.ProgressLog(
            clock, name, config.data.batch_size, rhythm.log_every, waiting, writer
        ),
        callbacks.Validate(
            clock, rhythm.interval, validation, ema=config.optimizer.ema is not None
        ),
        saver,
    ]
    try:
        left = step.updates - start.update
        if left:
            batches = waiting.timed(batches)
            trainer.fit(batches, steps_per_epoch=left, shuffle=False, verbose=0, callbacks=watchers)
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


def _write_bundle(run: RunFolder, index: int, losses: list, data: RunData) -> None:
    """Writes model.json after step `index`: its mean, and the last uncertainty trained so far."""
    uncertainty = None
    for i in range(index + 1):
        if losses[i].needs_log_scale:
            weights, loss = run.weights_name(i), losses[i]
            uncertainty = UncertaintyFile(weights=weights, unit=loss.unit, power=loss.power)
    mean = MeanFile(weights=run.weights_name(index), uncertainty=losses[index].needs_log_scale)
    steps = [step.model_dump() for step in run.config.steps[: index + 1]]
    manifest = Manifest(
        architecture=run.config.model,
        mean=mean,
        uncertainty=uncertainty,
        training={"steps": steps, "data": data.summary},
    )
    write_manifest(run.path, manifest)
