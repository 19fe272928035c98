"""Report on a calibration of theta: numbers, text and figures."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from udl_tf import uncertainty as measures
from udl_tf._support.files import write_text
from udl_tf._support.json_files import write_json
from udl_tf._support.tables import markdown_table
from udl_tf.evaluation.figures import calibration_figure
from udl_tf.uncertainty import LEVELS, Calibration
from udl_tf.uncertainty.fit import Sample, calibrate, error_ratio, folds, pool

COVERAGE_LEVELS = (0.5, 0.8, 0.9, 0.95)


def assess(
    name: str, samples: Sequence[Sample], calibration: Calibration, seen: bool
) -> dict[str, Any]:
    """Assesses a calibration on a set of images.

    Args:
        name: of the set.
        samples: of its images.
        calibration: the calibration to assess.
        seen: whether it was fitted on these images. Then each image is assessed with a fit to the
            others.

    Returns:
        Numbers, and curves for the figures, as in the report's JSON.
    """
    fits = [(samples, calibration)]
    if seen:
        fits = [(own, calibrate(rest, name, calibration.method)) for rest, own in folds(samples)]
    assessed = [sample for part, _ in fits for sample in part]
    thetas = [np.exp(fit.apply(sample.log_theta)) for part, fit in fits for sample in part]
    error, theta = pool(assessed, "error"), np.concatenate(thetas)
    # Errors that theta describes perfectly: what the best possible theta would reach.
    perfect = np.abs(np.random.default_rng(0).laplace(scale=theta))
    laplace = measures.coverage(error / theta, measures.laplace_factor(LEVELS))
    return {
        "dataset": name,
        "images": len(assessed),
        "pixels": len(error),
        "fitted_on_these": seen,
        **_errors(error, theta, perfect, np.exp(pool(assessed, "log_theta"))),
        "ranking": _rankings(assessed, error, theta, perfect),
        "oracle": measures.sparsification(error, error).tolist(),
        "coverage": {
            "levels": LEVELS.tolist(),
            "laplace": laplace.tolist(),
            "measured": _measured_coverage(fits).tolist(),
        },
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
    samples: Sequence[Sample], error: np.ndarray, theta: np.ndarray, perfect: np.ndarray
) -> dict[str, dict[str, Any]]:
    """Returns the ranking of errors by theta, by a perfect theta, and by each baseline."""
    ends = np.cumsum([len(sample.error) for sample in samples])[:-1]
    rankings = {
        "theta": _ranking(error, theta, ends),
        "perfect Laplace": _ranking(perfect, theta, ends),
    }
    for baseline in samples[0].baselines:
        values = np.concatenate([sample.baselines[baseline] for sample in samples])
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


def _measured_coverage(fits: Sequence[tuple[Sequence[Sample], Calibration]]) -> np.ndarray:
    """Returns the coverage of intervals whose half widths are the calibration's own quantiles."""
    inside, total = np.zeros(len(LEVELS)), 0
    for part, fit in fits:
        ratio = error_ratio(part, np.array(fit.a), np.array(fit.b))
        factors = np.array(fit.factors)
        for channel in range(3):
            inside += measures.coverage(ratio[:, channel], factors[:, channel]) * len(ratio)
        total += ratio.size
    return inside / total


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
        calibration_figure(folder / f"{name}.png", _title(result), result)
    write_json(folder / "report.json", {"calibration": calibration.model_dump(), "sets": results})
    write_text(folder / "report.md", report_text(results, calibration, model))


def report_text(results: Sequence[dict[str, Any]], calibration: Calibration, model: str) -> str:
    """Returns the report as Markdown; arguments as for write_report."""
    fits = zip("RGB", calibration.a, calibration.b, strict=True)
    if calibration.method == "scale":
        formula = "θ' = c θ, c = " + ", ".join(f"{np.exp(a):.3f} ({n})" for n, a, _ in fits)
    else:
        formula = "θ' = exp(a + b ln θ), a, b = " + ", ".join(
            f"{a:.3f}, {b:.3f} ({n})" for n, a, b in fits
        )
    text = f"# Calibration of {model}\n\nFitted on {calibration.data}: {formula}.\n"
    if (guarantee := calibration.conformal) is not None:
        text += (
            f"\nConformal intervals: sr ± {guarantee.factor:.3f} θ'. With probability"
            f" {1 - guarantee.delta:g} over the draw of the {guarantee.images} calibration images,"
            f" the expected share of values outside is at most {guarantee.alpha:g} for a new image"
            " of the same kind.\n"
        )
    return text + "".join(_section(result) for result in results)


def _title(result: dict[str, Any]) -> str:
    count = result["images"]
    return f"{result['dataset']}: {count} image{'s' if count > 1 else ''}"


def _section(result: dict[str, Any]) -> str:
    """Returns the part of the text on one set."""
    psnr, head = result["psnr"], _title(result)
    if result["fitted_on_these"]:
        alone = result["images"] == 1
        head += ", also used for the fit" if alone else ", each assessed with a fit to the others"
    tables = "\n".join(
        markdown_table(table(result)) for table in (_coverage_table, _error_table, _ranking_table)
    )
    text = f"\n## {head}\n\n{_verdict(result)}\n\n{tables}\n"
    if (misses := result["conformal_misses"]) is not None:
        text += f"Values outside the conformal intervals: {100 * misses:.1f} % on average.\n"
    text += (
        "PSNR (RGB) predicted from θ' alone, without the HR image: mean absolute error"
        f" {psnr['mean_absolute_difference']:.2f} dB"
    )
    if (correlation := psnr["spearman"]) is not None:
        text += f", rank correlation {correlation:.2f}"
    return f"{text}.\n"


def _verdict(result: dict[str, Any]) -> str:
    """Returns a line on whether θ ranks the errors, and on the coverage of its intervals."""
    aurg, coverage = result["ranking"]["theta"]["aurg"], result["coverage"]
    inside = 100 * coverage["measured"][coverage["levels"].index(0.9)]
    ranks = "θ does not rank the errors better than a random order: do not rely on it here"
    if aurg > 0:
        ranks = "θ ranks the errors better than a random order"
    return f"Verdict: {ranks} (AURG {aurg:.3f}); 90 % intervals cover {inside:.1f} % of the values."


def _coverage_table(result: dict[str, Any]) -> list[list[str]]:
    coverage = result["coverage"]
    at = [coverage["levels"].index(level) for level in COVERAGE_LEVELS]
    rows = [["values inside, %", *(f"{100 * level:g}" for level in COVERAGE_LEVELS)]]
    for label, key in (("Laplace intervals", "laplace"), ("measured intervals", "measured")):
        rows.append([label, *(f"{100 * coverage[key][i]:.1f}" for i in at)])
    return rows


def _error_table(result: dict[str, Any]) -> list[list[str]]:
    nll = result["nll"]
    rows = [["", "NLL", "UCE", "ENCE"], ["θ as trained", f"{nll['as trained']:.3f}", "", ""]]
    for label, key in (("θ' calibrated", "theta"), ("perfect Laplace", "perfect Laplace")):
        value = nll["calibrated" if key == "theta" else key]
        rows.append([label, f"{value:.3f}", *(f"{result[m][key]:.3f}" for m in ("uce", "ence"))])
    return rows


def _ranking_table(result: dict[str, Any]) -> list[list[str]]:
    keys = {
        "AUSE": "ause",
        "AUSE per image": "ause_per_image",
        "AURG": "aurg",
        "Spearman": "spearman",
    }
    rows = [["", *keys]]
    for label, ranking in result["ranking"].items():
        rows.append([label, *(f"{ranking[key]:.3f}" for key in keys.values())])
    return rows
