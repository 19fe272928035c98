"""Writes the bundle of a run after every step, and its calibration and evaluation at the end."""

from logging import getLogger
from typing import Any

import keras

from udl_tf._support.files import write_text
from udl_tf._support.json_files import write_json
from udl_tf.config import degradations_text
from udl_tf.evaluation.protocol import evaluate, results_table
from udl_tf.evaluation.theta_fit import calibrate, measure
from udl_tf.evaluation.theta_report import assess, write_report
from udl_tf.inference.keras_upscaler import KerasUpscaler
from udl_tf.models import fused
from udl_tf.saved.bundle import (
    Manifest,
    NetworkFile,
    UncertaintyFile,
    read_manifest,
    read_networks,
    save_weights,
    write_manifest,
)
from udl_tf.training.data import RunData
from udl_tf.training.networks import head_of, read_step_network
from udl_tf.training.run_folder import RunFolder

log = getLogger(__name__)


def write_bundle(run: RunFolder, index: int, losses: list, notes: dict[str, Any]) -> None:
    """Writes model.json after step `index`: its mean network and the last uncertainty network.

    Args:
        run: run folder.
        index: index of the last finished step.
        losses: losses of all steps.
        notes: content of metrics.json.
    """
    model, uncertainty = run.config.model, None
    with_s = [i for i in range(index + 1) if losses[i].needs_log_scale][-1:]
    files = {i: _network_file(run, i, losses[i]) for i in {index, *with_s}}
    for i in with_s:
        uncertainty = UncertaintyFile(
            **files[i].model_dump(), unit=losses[i].unit, power=losses[i].power
        )
    steps = [step.model_dump() for step in run.config.steps[: index + 1]]
    plain = {key: value for key, value in model.options.items() if key != "branches"}
    manifest = Manifest(
        architecture=model.changed(options=plain),
        mean=files[index],
        uncertainty=uncertainty,
        training={"steps": steps, "data": notes["data"], "origin": notes["origin"]},
    )
    write_manifest(run.path, manifest)


def _network_file(run: RunFolder, index: int, loss: keras.losses.Loss) -> NetworkFile:
    """Returns the weight file of a step for the bundle; with branches, writes it without them."""
    name = run.weights_name(index)
    if run.config.model.options.get("branches"):
        name = run.fused_name(index)
        save_weights(fused(read_step_network(run, index, loss)), run.path / name)
    return NetworkFile(weights=name, log_scale_head=head_of(run.config, index, loss))


def calibrate_theta(run: RunFolder, data: RunData) -> None:
    """Calibrates theta, if the bundle has it, on the held-out images and writes the report."""
    model, name = KerasUpscaler(read_networks(run.path)), "held-out training images"
    if not model.has_uncertainty:
        return
    samples = measure(model, data.held_out.sources, baselines=False)
    crop = run.config.evaluation.crop
    text = f"{len(samples)} {name}" + (f", central {crop}x{crop} pixels" if crop else "")
    if run.config.data.degradations:
        text += f", degraded by {degradations_text(run.config.data.degradations)}"
    calibration = calibrate(samples, text)
    manifest = read_manifest(run.path).model_copy(update={"calibration": calibration})
    write_manifest(run.path, manifest)
    results = [assess(name, samples, calibration, seen=True)]
    write_report(run.path / "calibration", results, calibration, run.path.name)
    log.info("calibration of theta: %s", run.path / "calibration" / "report.md")


def evaluate_run(run: RunFolder, notes: dict[str, Any], data: RunData) -> dict[str, Any]:
    """Evaluates the run on the test sets; returns the new content of metrics.json."""
    figures = run.config.evaluation.figures
    notes["results"] = evaluate(
        KerasUpscaler(read_networks(run.path)), data.test, run.figures, figures
    )
    write_json(run.metrics, notes)
    table = results_table(notes["results"], run.path.name)
    write_text(run.path / "results.md", f"{table}\nTrained on {data.summary['text']}.\n")
    log.info("\n%s", table)
    if data.summary["bundled"]:
        log.info("This is a rehearsal: the network was trained on the few bundled images only.")
    log.info("figures: %s", run.figures)
    return notes
