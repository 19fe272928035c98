"""Report on a calibration of theta: numbers, text and figures."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from udl_tf import uncertainty as measures
from udl_tf._support.files import write_text
from udl_tf._support.json_files import write_json
from udl_tf.data.pixels import RGB, Pixels
from udl_tf.evaluation.figures import calibration_figure
from udl_tf.evaluation.theta_text import report_text, title_of
from udl_tf.uncertainty import LEVELS, Calibration
from udl_tf.uncertainty.fit import Sample, calibrate, error_ratio, folds, members, pool


def assess(
    name: str,
    samples: Sequence[Sample],
    calibration: Calibration,
    seen: bool,
    pixels: Pixels = RGB,
) -> dict[str, Any]:
    """Assesses a calibration on a set of images.

    Args:
        name: of the set.
        samples: of its images.
        calibration: the calibration to assess.
        seen: whether it was fitted on these images. Then each image is assessed with a fit to the
            others.
        pixels: how the images were read.

    Returns:
        Numbers, and curves for the figures, as in the report's JSON; errors and theta of
        measurements are in the unit of their files.
    """
    fits = [(samples, calibration)]
    if seen:
        fits = [(own, calibrate(rest, name, calibration.method)) for rest, own in folds(samples)]
    assessed = [sample for part, _ in fits for sample in part]
    thetas = [np.exp(fit.apply(sample.log_theta)) for part, fit in fits for sample in part]
    step = pixels.unit.step.astype(np.float32)
    error, theta = step * pool(assessed, "error"), step * np.concatenate(thetas)
    # Errors that theta describes perfectly: what the best possible theta would reach.
    perfect = np.abs(np.random.default_rng(0).laplace(scale=theta))
    laplace = measures.coverage(error / theta, measures.laplace_factor(LEVELS))
    covered, per_channel = _measured_coverage(fits)
    groups = {name for sample in assessed for name, mask in sample.groups.items() if mask.any()}
    found: dict[str, Any] = {}
    if pixels.measured:
        found |= {"bands": _bands(error, theta, per_channel), "unit": pixels.unit_name}
    if groups:
        found["groups"] = {name: _group(fits, name) for name in sorted(groups, key=_order)}
    return {
        "dataset": name,
        "images": len(assessed),
        "pixels": len(error),
        "fitted_on_these": seen,
        **_errors(error, theta, perfect, step * np.exp(pool(assessed, "log_theta"))),
        "ranking": _rankings(assessed, step, error, theta, perfect),
        "oracle": measures.sparsification(error, error).tolist(),
        "coverage": {
            "levels": LEVELS.tolist(),
            "laplace": laplace.tolist(),
            "measured": covered.tolist(),
        },
        **found,
        "conformal_misses": None if seen else _conformal_misses(assessed, thetas, calibration),
        "reliability": measures.reliability(error, theta).tolist(),
        **_predicted_psnr(assessed, thetas),
    }


def _errors(
    error: np.ndarray, theta: np.ndarray, perfect: np.ndarray, as_trained: np.ndarray
) -> dict[str, dict[str, float]]:
    """Returns likelihood and calibration errors of theta, and those of a perfect theta."""
    return {
        "nll": {
            "as trained": measures.laplace_nll(error, as_trained),
            "calibrated": measures.laplace_nll(error, theta),
            "perfect Laplace": measures.laplace_nll(perfect, theta),
        },
        "uce": {
            "theta": measures.uce(error, theta),
            "perfect Laplace": measures.uce(perfect, theta),
        },
        "ence": {
            "theta": measures.ence(error, theta),
            "perfect Laplace": measures.ence(perfect, theta),
        },
    }


def _rankings(
    samples: Sequence[Sample],
    step: np.ndarray,
    error: np.ndarray,
    theta: np.ndarray,
    perfect: np.ndarray,
) -> dict[str, dict[str, Any]]:
    """Returns the ranking of errors by theta, by a perfect theta, and by each baseline.

    `step` is that of a grey level of each channel, in the unit of errors and theta.
    """
    ends = np.cumsum([len(sample.error) for sample in samples])[:-1]
    rankings = {
        "theta": _ranking(error, theta, ends),
        "perfect Laplace": _ranking(perfect, theta, ends),
    }
    for baseline in samples[0].baselines:
        values = step * np.concatenate([sample.baselines[baseline] for sample in samples])
        rankings[baseline] = _ranking(error, values, ends)
    return rankings


def _ranking(error: np.ndarray, uncertainty: np.ndarray, ends: np.ndarray) -> dict[str, Any]:
    """Measures how well `uncertainty` orders the errors; images are split at `ends`."""
    curve = measures.sparsification(error, uncertainty)
    per_image = [
        measures.ause(measures.sparsification(e, u), measures.sparsification(e, e))
        for e, u in zip(np.split(error, ends), np.split(uncertainty, ends), strict=True)
    ]
    return {
        "ause": measures.ause(curve, measures.sparsification(error, error)),
        "ause_per_image": float(np.nanmean(per_image)),
        "aurg": measures.aurg(curve),
        "spearman": measures.spearman(error, uncertainty),
        "sparsification": curve.tolist(),
    }


def _predicted_psnr(samples: Sequence[Sample], thetas: Sequence[np.ndarray]) -> dict[str, Any]:
    """Compares the PSNR of each image with the one that theta predicts."""
    actual = np.array([_psnr(sample.error) for sample in samples])
    predicted = np.array([measures.expected_psnr(theta) for theta in thetas])
    return {
        "psnr": {
            "mean_absolute_difference": float(np.mean(np.abs(actual - predicted))),
            "spearman": measures.spearman(actual, predicted) if len(actual) > 2 else None,
        },
        "per_image": [
            {"image": sample.name, "psnr": float(psnr), "expected_psnr": float(expected)}
            for sample, psnr, expected in zip(samples, actual, predicted, strict=True)
        ],
    }


def _psnr(error: np.ndarray) -> float:
    return 10 * np.log10(255.0**2 / max(float(np.mean(error**2)), 1e-9))


def _measured_coverage(
    fits: Sequence[tuple[Sequence[Sample], Calibration]], group: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the coverage of intervals whose half widths are the calibration's own quantiles.

    Args:
        fits: samples, and the calibration to assess on them.
        group: of pixels that count; None: all.

    Returns:
        (coverage of all values (levels,), of each channel (channels, levels)).
    """
    channels = len(fits[0][1].a)
    inside, of_channel, pixels = np.zeros(len(LEVELS)), np.zeros((channels, len(LEVELS))), 0
    for part, fit in fits:
        ratio = error_ratio(part, np.array(fit.a), np.array(fit.b))
        if group is not None:
            ratio = ratio[members(part, group)]
        if not len(ratio):
            continue
        factors = np.array(fit.factors)
        for channel in range(channels):
            share = measures.coverage(ratio[:, channel], factors[:, channel])
            inside += share * len(ratio)
            of_channel[channel] += share * len(ratio)
        pixels += len(ratio)
    return inside / (pixels * channels), of_channel / pixels


def _order(group: str) -> tuple[str, int]:
    """Sorts names of groups by words, then by their number."""
    words, _, number = group.rpartition(" ")
    return (words, int(number)) if number.isdecimal() else (group, 0)


def _bands(error: np.ndarray, theta: np.ndarray, covered: np.ndarray) -> list[dict[str, Any]]:
    """Returns the mean error, mean theta and coverage of each channel, in the unit of the files."""
    return [
        {
            "mean_error": float(np.mean(error[:, channel], dtype=np.float64)),
            "mean_theta": float(np.mean(theta[:, channel], dtype=np.float64)),
            "measured": shares.tolist(),
        }
        for channel, shares in enumerate(covered)
    ]


def _group(fits: Sequence[tuple[Sequence[Sample], Calibration]], name: str) -> dict[str, Any]:
    """Returns the share of the pixels that belong to a group, and the coverage in it."""
    inside = np.concatenate([members(part, name) for part, _ in fits])
    covered, per_channel = _measured_coverage(fits, name)
    return {
        "share": float(inside.mean()),
        "measured": covered.tolist(),
        "channels": per_channel.tolist(),
    }


def _conformal_misses(
    samples: Sequence[Sample], thetas: Sequence[np.ndarray], calibration: Calibration
) -> float | None:
    """Returns the mean over images of the share of values outside the conformal intervals."""
    if calibration.conformal is None:
        return None
    factor = calibration.conformal.factor
    pairs = zip(samples, thetas, strict=True)
    return float(np.mean([np.mean(s.error > factor * theta) for s, theta in pairs]))


def write_report(
    folder: Path, results: Sequence[dict[str, Any]], calibration: Calibration, model: str
) -> None:
    """Writes report.json, report.md and a figure per set.

    Args:
        folder: where to write them.
        results: what `assess` returned for each set.
        calibration: the calibration that was assessed.
        model: its name, for the headline.
    """
    for result in results:
        name = re.sub(r"[^\w.-]+", "_", result["dataset"])
        calibration_figure(folder / f"{name}.png", title_of(result), result)
    write_json(folder / "report.json", {"calibration": calibration.model_dump(), "sets": results})
    write_text(folder / "report.md", report_text(results, calibration, model))
