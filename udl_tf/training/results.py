"""Writes the bundle of a run after every step, and its calibration and evaluation at the end."""

from logging import getLogger
from typing import Any

from udl_tf._support.files import write_text
from udl_tf._support.json_files import write_json
from udl_tf.config import degradations_text
from udl_tf.errors import UserError
from udl_tf.evaluation.protocol import evaluate, results_table, totals
from udl_tf.evaluation.theta_measure import measure, nodata_reach, with_coverage
from udl_tf.evaluation.theta_report import assess, write_report
from udl_tf.inference.keras_upscaler import KerasUpscaler
from udl_tf.models import fused
from udl_tf.models.weight_files import save_weights
from udl_tf.saved.bundle import (
    Manifest,
    NetworkFile,
    UncertaintyFile,
    read_manifest,
    read_model,
    read_networks,
    write_manifest,
)
from udl_tf.saved.card import EIGHT_BIT
from udl_tf.tasks.preset_folder import IN_RUN, write_preset
from udl_tf.training.data import RunData
from udl_tf.training.networks import head_of, read_step_network
from udl_tf.training.run_folder import RunFolder
from udl_tf.uncertainty.fit import calibrate

log = getLogger(__name__)


def write_bundle(run: RunFolder, index: int, losses: list, notes: dict[str, Any]) -> None:
    """Writes model.json after step `index`; see make_manifest."""
    files = bundle_files(run, losses, index + 1)
    write_manifest(run.path, make_manifest(run, losses, files, notes))


def bundle_files(run: RunFolder, losses: list, count: int) -> list[str]:
    """Returns the weight files of the first `count` steps, which have finished, for a bundle.

    A bundle holds networks without branches: of a network with branches, the file is written here
    if it is missing or older than that of the step.

    Returns:
        Paths relative to the run folder.
    """
    if not run.config.model.options.get("branches"):
        return [run.weights_name(i) for i in range(count)]
    names = [run.fused_name(i) for i in range(count)]
    for i, name in enumerate(names):
        file = run.path / name
        if not file.exists() or file.stat().st_mtime < run.weights(i).stat().st_mtime:
            save_weights(fused(read_step_network(run, i, losses[i])), file)
    return names


def make_manifest(
    run: RunFolder, losses: list, files: list[str], notes: dict[str, Any]
) -> Manifest:
    """Returns the bundle of the last step's mean network and the last uncertainty network.

    Args:
        run: run folder.
        losses: losses of all steps.
        files: weight files of the steps, relative to the folder of the bundle.
        notes: content of metrics.json.
    """
    parts = [
        NetworkFile(weights=file, log_scale_head=head_of(run.config, i, losses[i]))
        for i, file in enumerate(files)
    ]
    uncertainty = None
    for part, loss in zip(parts, losses, strict=False):
        if loss.needs_log_scale:
            uncertainty = UncertaintyFile(**part.model_dump(), unit=loss.unit, power=loss.power)
    steps = [step.model_dump() for step in run.config.steps[: len(files)]]
    return Manifest(
        architecture=run.config.model.without_branches(),
        range=notes["data"].get("value_range", EIGHT_BIT),
        mean=parts[-1],
        uncertainty=uncertainty,
        training={"steps": steps, "data": notes["data"], "origin": notes["origin"]},
    )


def calibrate_theta(run: RunFolder, data: RunData) -> None:
    """Calibrates theta, if the bundle has it, on the held-out images and writes the report."""
    model, name = KerasUpscaler(read_networks(run.path)), "held-out training images"
    if not model.has_uncertainty:
        return
    sources = data.held_out.sources
    reach = nodata_reach(model, sources)
    samples = measure(model, sources, baselines=False, reach=reach)
    crop = run.config.evaluation.crop
    text = f"{len(samples)} {name}" + (f", central {crop}x{crop} pixels" if crop else "")
    if run.config.data.degradations:
        text += f", degraded by {degradations_text(run.config.data.degradations)}"
    calibration = calibrate(samples, text).model_copy(update={"nodata_reach": reach})
    manifest = read_manifest(run.path).model_copy(update={"calibration": calibration})
    write_manifest(run.path, manifest)
    results = [assess(name, samples, calibration, seen=True, pixels=data.pixels)]
    write_report(run.path / "calibration", results, calibration, run.path.name)
    log.info("calibration of theta: %s", run.path / "calibration" / "report.md")


def evaluate_run(run: RunFolder, notes: dict[str, Any], data: RunData) -> dict[str, Any]:
    """Evaluates the run on the test sets; returns the new content of metrics.json."""
    figures = run.config.evaluation.figures
    model = KerasUpscaler(read_networks(run.path))
    results = evaluate(model, data.test, run.figures, figures, bands=run.config.evaluation.bands)
    # Not of photographs, whose test sets are large: their images are computed a second time.
    notes["results"] = with_coverage(results, model, data.test) if data.pixels.measured else results
    write_json(run.metrics, notes)
    try:
        write_preset(read_model(run.path), run.path / IN_RUN, totals(notes["results"]))
    except UserError as error:  # of a network that is not the package's
        log.info("no preset: %s", error)
    table = results_table(notes["results"], run.path.name)
    write_text(run.path / "results.md", f"{table}\nTrained on {data.summary['text']}.\n")
    log.info("\n%s", table)
    if data.summary["bundled"]:
        log.info("This is a rehearsal: the network was trained on the few bundled images only.")
    log.info("figures: %s", run.figures)
    return notes
