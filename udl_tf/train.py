"""Trains a network by a config file: every step, then the result table and pictures.

    python -m udl_tf.train --config configs/dpdnn_x3.json [--quick] [--set key=value ...]

The same command again goes on where the run stopped.
"""

import argparse
import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from udl_tf import cli
from udl_tf.bundle import build_network, load, save_weights, write_manifest
from udl_tf.config import Config, StepConfig, load_config
from udl_tf.data.pipeline import training_batches
from udl_tf.data.sources import (
    BUNDLED,
    Dataset,
    ImageStore,
    cache_folder,
    find_datasets,
    large_enough,
    split_validation,
)
from udl_tf.distribute import make_strategy, precision
from udl_tf.errors import UserError, nearest
from udl_tf.evaluate import evaluate, results_table
from udl_tf.files import write_json, write_text
from udl_tf.losses import LOSSES
from udl_tf.models import copy_weights
from udl_tf.training import callbacks
from udl_tf.training.checkpoint import FILE as CHECKPOINT
from udl_tf.training.checkpoint import (
    Progress,
    read_progress,
    restore_checkpoint,
    save_checkpoint,
)
from udl_tf.training.run_folder import RunFolder, start_log
from udl_tf.training.trainer import Trainer, make_optimizer, make_pixel_weight

log = getLogger("udl_tf.train")


@dataclass(frozen=True)
class Data:
    """What a run trains on, watches and is judged on."""

    store: ImageStore
    held_out: list[tuple[Any, Any]]
    test: list[Dataset]
    summary: dict[str, Any]


def train(config: Config, folder: Path | str) -> dict[str, Any]:
    """Trains every step that has not ended yet, evaluates, and returns metrics.json's content.

    Args:
        config: the resolved config.
        folder: the run folder, new or of the same config.

    Raises:
        UserError: for a config, data or folder that cannot work; Diverged for a loss that is not
            finite; cli.Interrupted when stopped by Ctrl-C.
    """
    losses = [_make_loss(step, index) for index, step in enumerate(config.steps)]
    _check_weighting(config, losses)
    strategy = make_strategy(config.distribution)
    if strategy and config.data.batch_size % strategy.num_replicas_in_sync:
        raise UserError(
            f"data.batch_size {config.data.batch_size} is no multiple of the"
            f" {strategy.num_replicas_in_sync} replicas: change one of them"
        )
    with precision(config.training.precision):
        build_network(config.model, True)  # a wrong option is found before anything is written
    data = _load_data(config)
    run = RunFolder(folder, config)
    start_log(run.path / "log.txt")
    log.info("run folder: %s", run.path)
    log.info("data: %s", data.summary["spoken"])
    notes = run.read_notes()
    notes |= {"data": data.summary, "steps": notes.get("steps", [])}
    for index in range(len(config.steps)):
        if not run.finished(index):
            with strategy.scope() if strategy else nullcontext():
                note = _run_step(run, index, losses, data)
            _write_bundle(run, index, losses, data)
            notes["steps"] = [*notes["steps"][:index], note]
            write_json(run.metrics, notes)
            (run.path / CHECKPOINT).unlink(missing_ok=True)
    notes["results"] = evaluate(load(run.path), data.test, run.figures, config.evaluation.figures)
    write_json(run.metrics, notes)
    table = results_table(notes["results"], run.path.name)
    write_text(run.path / "results.md", f"{table}\nTrained on: {data.summary['spoken']}\n")
    log.info("\n%s", table)
    if data.summary["bundled"]:
        log.info("Trained on the few bundled images: a rehearsal, no network for use.")
    log.info("figures: %s", run.figures)
    return notes


def _make_loss(step: StepConfig, index: int) -> keras.losses.Loss:
    if step.loss not in LOSSES:
        raise UserError(f"steps.{index}.loss {step.loss!r} is unknown, {nearest(step.loss, LOSSES)}")
    try:
        return LOSSES[step.loss](**step.loss_options)
    except TypeError as error:
        raise UserError(f"steps.{index}.loss_options do not fit {step.loss}: {error}") from error


def _check_weighting(config: Config, losses: list) -> None:
    for index, step in enumerate(config.steps):
        if step.weighting and step.weighting.source == "uncertainty":
            before = config.steps[index - 1].loss
            if not losses[index - 1].needs_log_scale:
                raise UserError(
                    f"steps.{index}.weighting.source is 'uncertainty', and the step before has loss"
                    f" {before!r}, which trains none: use 'esu' there or another source"
                )


def _load_data(config: Config) -> Data:
    scale, seed = config.model.scale, config.training.seed
    sets = find_datasets(config.data, "train", scale)
    test = find_datasets(config.data, "test", scale)
    pictures = [picture for dataset in sets for picture in dataset.pictures]
    large = large_enough(pictures, config.data)
    training, held_out = split_validation(large, config.data.validation_images, seed)
    cache = cache_folder(config.data)
    store = ImageStore(training, scale, config.data.memory_gb, cache)
    store.load_all()
    watched = ImageStore(held_out, scale, config.data.memory_gb, cache)
    names = {dataset.name: len(dataset.pictures) for dataset in sets}
    bundled = list(names) == [BUNDLED]
    spoken = (
        f"{' + '.join(f'{name} ({count})' for name, count in names.items())}: {len(training)} images"
        f" to train on, {len(held_out)} held out, {len(pictures) - len(large)} too small and skipped"
    )
    if bundled:
        spoken += "; data.root is not set, so these are the few images that come with the package"
    summary = {"sets": names, "training": len(training), "held_out": len(held_out)}
    summary |= {"skipped": len(pictures) - len(large), "bundled": bundled, "spoken": spoken}
    return Data(store, [watched.pair(i) for i in range(len(watched))], test, summary)


def _run_step(run: RunFolder, index: int, losses: list, data: Data) -> dict[str, Any]:
    """Trains one step from where it stands, keeps its weights, and returns its note for metrics.json."""
    config, step, loss = run.config, run.config.steps[index], losses[index]
    name = f"step {index + 1}/{len(config.steps)} {step.loss}"
    keras.utils.set_random_seed(config.training.seed + index)
    with precision(config.training.precision):
        network = build_network(config.model, loss.needs_log_scale)
        before = _load_step(run, index - 1, losses) if index else None
        if before is not None:
            copy_weights(before, network)
        weight = None
        if step.weighting:
            weight = make_pixel_weight(step.weighting, before, config.model.scale)
        trainer = Trainer(network, loss, weight)
        optimizer = make_optimizer(config.optimizer, step.updates, step.learning_rate)
        trainer.compile(optimizer=optimizer)
    start = read_progress(run.path) or Progress(step=index, update=0)
    if start.step == index and start.update:
        restore_checkpoint(run.path, trainer)
        log.info("%s goes on after update %d", name, start.update)
    else:
        start = Progress(step=index, update=0)
    earlier = sum(s.updates for s in config.steps[:index])
    batches = training_batches(
        data.store, config.data, config.training.seed, earlier + start.update
    )
    writer = tf.summary.create_file_writer(str(run.tensorboard / f"step{index + 1}-{step.loss}"))
    validation = callbacks.Validation(data.held_out, config.model.scale, network, before, writer)
    clock = callbacks.StepClock(start.update, step.updates)
    began = time.monotonic()

    def seconds() -> float:
        return start.seconds + time.monotonic() - began

    saver = callbacks.Checkpoints(
        clock,
        config.training.interval,
        lambda model: save_checkpoint(run.path, Progress(index, clock.update, seconds()), model),
    )
    watchers = [
        callbacks.Counter(clock),
        callbacks.StopOnDivergence(clock, name),
        callbacks.ProgressLog(
            clock,
            name,
            config.data.batch_size,
            config.training.log_every,
            _rate_of(trainer.optimizer),
            _board(writer, clock),
        ),
        saver,
        callbacks.EveryInterval(
            clock,
            config.training.interval,
            lambda: validation(clock.update),
            ema=config.optimizer.ema is not None,
        ),
    ]
    log.info("%s: %d updates of %d patches", name, step.updates, config.data.batch_size)
    try:
        if start.update < step.updates:
            trainer.fit(
                batches,
                steps_per_epoch=step.updates - start.update,
                shuffle=False,
                verbose=0,
                callbacks=watchers,
            )
    finally:
        saver.restore_handlers()
        writer.close()
    if clock.update < step.updates:
        raise cli.Interrupted(
            f"stopped after update {clock.update} of {name}, saved in {run.path}: the same command"
            " goes on from there"
        )
    save_weights(network, run.weights(index))
    return {
        "step": index + 1,
        "loss": step.loss,
        "updates": step.updates,
        "seconds": round(seconds(), 1),
        "validation": validation.history,
    }


def _load_step(run: RunFolder, index: int, losses: list) -> keras.Model:
    network = build_network(run.config.model, losses[index].needs_log_scale)
    network.load_weights(run.weights(index))
    return network


def _write_bundle(run: RunFolder, index: int, losses: list, data: Data) -> None:
    """Writes model.json after step `index`: its mean, and the last uncertainty trained so far."""
    steps = run.config.steps[: index + 1]
    with_s = [i for i in range(index + 1) if losses[i].needs_log_scale]
    uncertainty = None
    if with_s:
        loss = losses[with_s[-1]]
        weights = run.weights_name(with_s[-1])
        uncertainty = {"weights": weights, "unit": loss.unit, "power": loss.power}
    write_manifest(
        run.path,
        run.config.model,
        {"weights": run.weights_name(index), "uncertainty": losses[index].needs_log_scale},
        uncertainty,
        {"steps": [step.model_dump() for step in steps], "data": data.summary},
    )


def _rate_of(optimizer: keras.optimizers.Optimizer) -> Callable[[int], float]:
    return lambda update: float(keras.ops.convert_to_numpy(optimizer.learning_rate))


def _board(writer, clock: callbacks.StepClock) -> Callable[[str, float], None]:
    def write(tag: str, value: float) -> None:
        with writer.as_default(step=clock.update):
            tf.summary.scalar(tag, value)

    return write


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m udl_tf.train", description=__doc__)
    parser.add_argument("--config", required=True, help="JSON file, such as configs/edsr_s_x4.json")
    parser.add_argument("--run-dir", help="run folder (default: runs/<config name>)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="overrides a config key"
    )
    parser.add_argument(
        "--quick", action="store_true", help="rehearse on bundled images, a few minutes"
    )
    parser.add_argument(
        "--print-config", action="store_true", help="print the resolved config and end"
    )
    options = parser.parse_args(arguments)
    config = load_config(options.config, options.set)
    config = config.rehearsal() if options.quick else config
    if options.print_config:
        print(json.dumps(config.model_dump(), indent=1))
        return
    name = Path(options.config).stem + ("-quick" if options.quick else "")
    train(config, options.run_dir or Path("runs") / name)


if __name__ == "__main__":
    cli.run(main)
