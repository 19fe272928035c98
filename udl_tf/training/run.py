"""A complete run: the steps of a config, then calibration and evaluation."""

import inspect
from logging import getLogger
from pathlib import Path
from typing import Any

import keras

from udl_tf._support.arguments import check_type
from udl_tf._support.hardware import measure_rates, slow_precision, use_cores
from udl_tf._support.json_files import write_json
from udl_tf.config import Config, StepConfig
from udl_tf.data.split import Split
from udl_tf.distributed.group import Group, join_group
from udl_tf.errors import Interrupted, UserError, nearest
from udl_tf.losses import LOSSES
from udl_tf.training.checkpoint import delete_checkpoint
from udl_tf.training.data import RunData, load_data
from udl_tf.training.extension import extend_run
from udl_tf.training.networks import check_networks
from udl_tf.training.origin import find_origin
from udl_tf.training.results import calibrate_theta, evaluate_run, write_bundle
from udl_tf.training.run_folder import CACHE, RunFolder, logging_to, with_note
from udl_tf.training.running import delete_running_bundle
from udl_tf.training.step import Session, stopped, train_step
from udl_tf.training.uncertainty_cache import decide_cache

log = getLogger(__name__)


def train(config: Config, folder: Path | str, extend: bool = False) -> dict[str, Any]:
    """Trains every step that has not finished, evaluates, and returns the content of metrics.json.

    Args:
        config: the resolved config.
        folder: run folder: a new one, or that of an earlier call with this config, which resumes.
        extend: whether the config may have more updates than the run folder: the first step with
            more then continues from its current weights with a new schedule, and later steps that
            have begun are trained again.

    Raises:
        UserError: for an unsuitable config, folder or dataset; its subclass Diverged if the loss is
            not finite.
        Interrupted: after Ctrl-C or SIGTERM; everything is saved.
        Lost: if another machine of the run stops or is unreachable.
    """
    use_cores()
    losses = make_losses(config)
    group = join_group(config.distribution)
    if config.data.batch_size % group.device_count:
        raise UserError(
            f"data.batch_size {config.data.batch_size} cannot be divided among {group.device_count}"
            f" devices: use a multiple of {group.device_count}"
        )
    check_networks(config, losses)  # before the data is read

    def stored_split() -> str:
        split = RunFolder(folder, config, extend).read_split()
        return "" if split is None else split.model_dump_json()

    def prepare() -> RunData:
        split = Split.model_validate_json(stored) if stored else None
        return load_data(config, split, Path(folder) / CACHE)

    def begin(own: Path) -> Session:
        if extend and group.writes:
            extend_run(own, config, losses)
        return _begin(RunFolder(own, config), Path(folder), losses, data, group)

    with group.guard():
        stored = group.shared(stored_split)  # fails before the data is read
        data = group.everywhere(prepare)
        group.require_same("config", repr(config))
        group.require_same("set of training images", data.digest)
        with (
            group.run_folder(Path(folder), begin) as session,
            logging_to(session.run.path / "log.txt", console=group.writes),
        ):
            return _train_all(session)


def make_losses(config: Config) -> list[keras.losses.Loss]:
    """Builds the loss of each step, and checks that steps have the uncertainty that they need.

    Raises:
        UserError: for an unknown loss or a wrong option, a weighting without uncertainty, or an
            uncertainty head whose loss does not train it.
    """
    losses = [_make_loss(step, index) for index, step in enumerate(config.steps)]
    for index, step in enumerate(config.steps):
        if step.train == "uncertainty_head" and not losses[index].needs_log_scale:
            raise UserError(
                f"steps.{index}.train is 'uncertainty_head', but loss {step.loss!r} trains no"
                " uncertainty: use 'esu'"
            )
        if step.weighted_by_uncertainty and not losses[index - 1].needs_log_scale:
            raise UserError(
                f"steps.{index}.weighting.source is 'uncertainty', but loss"
                f" {config.steps[index - 1].loss!r} of the previous step trains no uncertainty: use"
                " 'esu' there, or another source"
            )
    return losses


def _make_loss(step: StepConfig, index: int) -> keras.losses.Loss:
    if step.loss not in LOSSES:
        raise UserError(
            f"steps.{index}.loss {step.loss!r} is unknown, {nearest(step.loss, LOSSES)}"
        )
    known = inspect.signature(LOSSES[step.loss]).parameters
    for option, value in step.loss_options.items():
        if option in known:
            check_type(f"steps.{index}.loss_options.{option}", value, known[option].annotation)
    try:
        return LOSSES[step.loss](**step.loss_options)
    except (TypeError, ValueError) as error:
        raise UserError(f"steps.{index}.loss_options: {error}") from error


def _begin(run: RunFolder, folder: Path, losses: list, data: RunData, group: Group) -> Session:
    """Creates the run folder, or opens it to resume."""
    origin = find_origin(run)
    policy, reason = _precision(run)
    slow = slow_precision(policy)
    cached, price = _caching(run, data)
    run.create(policy, cached, data.split)
    facts = [f"run folder: {run.path}", f"device: {group.devices}, {policy}{reason}"]
    if slow:
        facts.append(f'warning: {slow}: start a new run with training.precision "auto"')
    facts.append(f"data: {data.summary['text']}")
    if data.cache == run.cache:
        facts.append(f"cache: {run.cache}, as the user's cache folder cannot be written")
    facts += price
    return Session(run, folder, losses, data, policy, origin, group, tuple(facts))


def _precision(run: RunFolder) -> tuple[str, str]:
    """Returns (policy to train in, reason for the log); a resumed run keeps its policy."""
    policy = run.config.training.precision
    if policy != "auto":
        return policy, ""
    if run.precision is not None:
        return run.precision, " (auto, as before)"
    rates = measure_rates()
    return rates.precision, f" (auto: convolutions reach {rates})"


def _caching(run: RunFolder, data: RunData) -> tuple[bool, list[str]]:
    """Returns whether the run caches uncertainty, and log lines that explain a new decision."""
    wanted = run.config.training.cache_uncertainty
    if wanted != "auto":
        return wanted, []
    return decide_cache(run.config, data.training, data.cache)


def _train_all(session: Session) -> dict[str, Any]:
    """Trains the remaining steps, calibrates and evaluates; returns the content of metrics.json."""
    run, data, group = session.run, session.data, session.group
    for line in session.facts:
        log.info("%s", line)
    notes: dict[str, Any] = (
        {"origin": None, "steps": []} | run.read_notes() | {"data": data.summary}
    )
    if session.origin is not None:
        notes["origin"] = session.origin.history
    write_json(run.metrics, notes)
    for index in range(len(run.config.steps)):
        if run.finished(index):
            # If later steps have weights, the bundle is theirs, also while a step is extended.
            if not run.later_weights(index):
                write_bundle(run, index, session.losses, notes)
            continue
        with group.scope():
            note, interrupted = train_step(session, index)
        notes = with_note(notes, note)
        write_json(run.metrics, notes)
        write_bundle(run, index, session.losses, notes)
        for outdated in run.later_weights(index):  # trained before this step was extended
            outdated.unlink()
        delete_running_bundle(run)
        delete_checkpoint(run.path)  # last: a run that is killed before repeats the lines above
        if group.any(interrupted):
            raise Interrupted(stopped(f"the end of {note['loss']}", run))
    if group.writes:
        calibrate_theta(run, data)
        evaluate_run(run, notes, data)
    group.finish()
    return notes
