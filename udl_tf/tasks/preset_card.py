"""Model cards of presets: README.md, with the metadata that model hubs read."""

from collections.abc import Iterator
from typing import Any

from udl_tf._support.tables import markdown_table
from udl_tf.config import ModelConfig
from udl_tf.imaging.value_range import GREY_LEVELS, ValueRange
from udl_tf.metrics import TITLES
from udl_tf.uncertainty.record import Calibration

_FRONT = "---\nlibrary_name: keras\npipeline_tag: image-to-image\ntags:\n{tags}\n---\n"
_TAGS = ("keras", "super-resolution", "uncertainty", "udl_tf")
_USE = """## Use

    import udl_tf
    model = udl_tf.SRModel.from_preset("{name}")
    result = model.upscale("{file}")
    result.image, result.theta, result.interval(0.9)
"""


def card_text(
    name: str,
    architecture: ModelConfig,
    calibration: Calibration | None,
    about: dict[str, Any],
    results: list[dict[str, Any]],
    value_range: ValueRange = GREY_LEVELS,
) -> str:
    """Returns the model card of a preset, in Markdown.

    Args:
        name: of the preset.
        architecture, calibration: of the model.
        about: what is known of the model: "training", "licence" and "limits"; see SRModel.
        results: on test sets, as in metrics.json.
        value_range: values that the network sees as 0 and 255.
    """
    measured = architecture.channels != 3 or value_range != GREY_LEVELS
    options = ", ".join(f"{key} {value}" for key, value in architecture.options.items())
    facts = [
        f"network: {architecture.name} x{architecture.scale} ({options or 'as published'})",
        *(_of_measurements(architecture.channels, calibration, value_range) if measured else ()),
        *(f"{title}: {text}" for title, text in history(about.get("training", {}))),
        f"theta: {'calibrated on ' + calibration.data if calibration else 'not calibrated'}",
        f"licence: {about.get('licence', 'not stated')}",
        f"limits: {about.get('limits', 'not stated')}",
    ]
    parts = [
        _FRONT.format(tags="\n".join(f"- {tag}" for tag in _TAGS)),
        f"# {name}\n",
        "\n".join(f"- {fact}" for fact in facts) + "\n",
        _USE.format(name=name, file="scene.tif" if measured else "photo.png"),
    ]
    if results:
        parts.append(f"## Results\n\n{results_text(results)}")
    return "\n".join(parts)


def _of_measurements(
    channels: int, calibration: Calibration | None, value_range: ValueRange
) -> Iterator[str]:
    """Yields the facts that only models of measurements have."""
    yield f"channels: {channels}"
    images = value_range == GREY_LEVELS
    unit = "black and white of images" if images else "in the unit of files, results and theta"
    yield f"value range: {value_range.text}, {unit}"
    if calibration is not None and calibration.nodata_reach is not None:
        yield f"near nodata: within {calibration.nodata_reach} input pixels, as measured"


def results_text(results: list[dict[str, Any]]) -> str:
    """Returns a Markdown table of results on test sets, beside bicubic interpolation."""
    known = [metric for metric in TITLES if metric in results[0]]
    names = [TITLES[metric][:2] for metric in known]
    titles = [f"{name}, {unit}" if unit else name for name, unit in names]
    covers = ["80 % intervals cover"] if "coverage_80" in results[0] else []
    cells = [["test set", "images", *titles, *covers]]
    for found in results:
        metrics = (_beside_bicubic(found, metric) for metric in known)
        share = found.get("coverage_80")
        coverage = "–" if share is None else f"{100 * share:.1f} %"
        title = found["dataset"] + (f", {found['degrade']}" if "degrade" in found else "")
        row = [title, str(found["images"]), *metrics, coverage]
        cells.append(row[: len(cells[0])])
    return markdown_table(cells)


def _beside_bicubic(found: dict[str, Any], metric: str) -> str:
    """Returns a metric of the model and of bicubic interpolation; JSON has null for infinity."""
    *_, digits = TITLES[metric]
    values = (found[metric], found[f"bicubic_{metric}"])
    own, bicubic = ("inf" if v is None else f"{v:.{digits}f}" for v in values)
    return f"{own} (bicubic {bicubic})"


def history(training: dict[str, Any], title: str = "trained") -> Iterator[tuple[str, str]]:
    """Describes the steps and data of a training, and those of the models it started from."""
    yield title, _training(training)
    if origin := training.get("origin"):
        yield from history(origin, f"started from {origin['name']}")


def _training(training: dict[str, Any]) -> str:
    if "steps" not in training:
        source = training.get("imported")
        return f"imported from {source}" if source else "not stated"
    steps = [
        (f"{step['updates_done']:,} of " if "updates_done" in step else "")
        + f"{step['updates']:,} updates of {step['loss']}"
        + (" (uncertainty head)" if step.get("train") == "uncertainty_head" else "")
        + (" in simulated int8" if step.get("quantize") else "")
        for step in training["steps"]
    ]
    return f"{', then '.join(steps)}; on {training['data']['text']}"
