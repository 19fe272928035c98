"""What a calibration is worth: numbers, a text to read and figures."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from udl_tf import uncertainty as cal
from udl_tf._support.files import complete_file, write_text
from udl_tf._support.json_files import write_json
from udl_tf._support.tables import markdown_table
from udl_tf.evaluation.theta_fit import Sample, calibrate, error_ratio, folds, pool
from udl_tf.uncertainty import LEVELS, Calibration

COVERAGE_LEVELS = (0.5, 0.8, 0.9, 0.95)


def assess(
    name: str, samples: Sequence[Sample], calibration: Calibration, seen: bool
) -> dict[str, Any]:
    """What a calibration is worth on a set of images.

    Args:
        name: of the set.
        samples: its images.
        calibration: to be judged.
        seen: whether it was fitted on these images. Then each is judged by a fit to the others.

    Returns:
        Numbers, and curves for the figures, as the report's JSON holds them.
    """
    fits = [(samples, calibration)]
    if seen:
        fits = [(own, calibrate(rest, name, calibration.method)) for rest, own in folds(samples)]
    judged = [sample for part, _ in fits for sample in part]
    thetas = [np.exp(fit.apply(sample.log_theta)) for part, fit in fits for sample in part]
    error, theta = pool(judged, "error"), np.concatenate(thetas)
    perfect = np.abs(np.random.default_rng(0).laplace(scale=theta))
    ends = np.cumsum([len(sample.error) for sample in judged])[:-1]
    rankings = {
        "theta": _ranking(error, theta, ends),
        "perfect Laplace": _ranking(perfect, theta, ends),
        **{
            measure: _ranking(error, np.concatenate([s.baselines[measure] for s in judged]), ends)
            for measure in judged[0].baselines
        },
    }
    coverage = {
        "levels": LEVELS.tolist(),
        "laplace": cal.coverage(error / theta, cal.laplace_factor(LEVELS)).tolist(),
        "measured": _measured_coverage(fits).tolist(),
    }
    return {
        "dataset": name,
        "images": len(judged),
        "pixels": len(error),
        "fitted_on_these": seen,
        "nll": {
            "as trained": cal.laplace_nll(error, np.exp(pool(judged, "log_theta"))),
            "calibrated": cal.laplace_nll(error, theta),
            "perfect Laplace": cal.laplace_nll(perfect, theta),
        },
        "uce": {"theta": cal.uce(error, theta), "perfect Laplace": cal.uce(perfect, theta)},
        "ence": {"theta": cal.ence(error, theta), "perfect Laplace": cal.ence(perfect, theta)},
        "ranking": rankings,
        "oracle": cal.sparsification(error, error).tolist(),
        "coverage": coverage,
        "conformal_misses": None if seen else _conformal_misses(judged, thetas, calibration),
        "reliability": cal.reliability(error, theta).tolist(),
        **_predicted_psnr(judged, thetas),
    }


def _predicted_psnr(judged: Sequence[Sample], thetas: Sequence[np.ndarray]) -> dict[str, Any]:
    """The PSNR of each image beside the one that theta predicts."""
    found = np.array([_psnr(sample.error) for sample in judged])
    predicted = np.array([cal.expected_psnr(theta) for theta in thetas])
    return {
        "psnr": {
            "mean_absolute_difference": float(np.mean(np.abs(found - predicted))),
            "spearman": cal.spearman(found, predicted) if len(found) > 2 else None,
        },
        "per_image": [
            {"image": sample.name, "psnr": float(psnr), "expected_psnr": float(expected)}
            for sample, psnr, expected in zip(judged, found, predicted, strict=True)
        ],
    }


def _measured_coverage(fits: Sequence[tuple[Sequence[Sample], Calibration]]) -> np.ndarray:
    """Coverage of the intervals whose half widths are the calibration's own quantiles."""
    inside, total = np.zeros(len(LEVELS)), 0
    for part, fit in fits:
        ratio = error_ratio(part, np.array(fit.a), np.array(fit.b))
        factors = np.array(fit.factors)
        for channel in range(3):
            inside += cal.coverage(ratio[:, channel], factors[:, channel]) * len(ratio)
        total += ratio.size
    return inside / total


def _conformal_misses(
    judged: Sequence[Sample], thetas: Sequence[np.ndarray], calibration: Calibration
) -> float | None:
    """Mean over images of the share of values outside the conformal intervals."""
    if calibration.conformal is None:
        return None
    factor = calibration.conformal.factor
    pairs = zip(judged, thetas, strict=True)
    return float(np.mean([np.mean(s.error > factor * theta) for s, theta in pairs]))


def _psnr(error: np.ndarray) -> float:
    return 10 * np.log10(255.0**2 / max(float(np.mean(error**2)), 1e-9))


def _ranking(error: np.ndarray, uncertainty: np.ndarray, ends: np.ndarray) -> dict[str, Any]:
    """How well `uncertainty` orders the errors; an image's pixels end where `ends` say."""
    curve = cal.sparsification(error, uncertainty)
    per_image = [
        cal.ause(cal.sparsification(e, u), cal.sparsification(e, e))
        for e, u in zip(np.split(error, ends), np.split(uncertainty, ends), strict=True)
    ]
    return {
        "ause": cal.ause(curve, cal.sparsification(error, error)),
        "ause_per_image": float(np.nanmean(per_image)),
        "aurg": cal.aurg(curve),
        "spearman": cal.spearman(error, uncertainty),
        "sparsification": curve.tolist(),
    }


def write_report(
    folder: Path, results: Sequence[dict[str, Any]], calibration: Calibration, model: str
) -> None:
    """Writes report.json, report.md and a figure for each set.

    Args:
        folder: where to.
        results: what `judge` returned for each set.
        calibration: what was judged.
        model: its name, for the headline.
    """
    for result in results:
        _draw(folder / (re.sub(r"[^\w.-]+", "_", result["dataset"]) + ".png"), result)
    write_json(folder / "report.json", {"calibration": calibration.model_dump(), "sets": results})
    write_text(folder / "report.md", report_text(results, calibration, model))


def report_text(results: Sequence[dict[str, Any]], calibration: Calibration, model: str) -> str:
    """The results as Markdown."""
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
            f" {1 - guarantee.delta:g} over the choice of the {guarantee.images} images, the"
            f" expected share of a like image's values outside is at most {guarantee.alpha:g}.\n"
        )
    return text + "".join(_section(result) for result in results)


def _section(result: dict[str, Any]) -> str:
    coverage, nll, psnr = result["coverage"], result["nll"], result["psnr"]
    how = ""
    if result["fitted_on_these"]:
        alone = result["images"] == 1
        how = ", the one of the fit" if alone else ", each judged by a fit to the others"
    at = [coverage["levels"].index(level) for level in COVERAGE_LEVELS]
    inside = [["values inside, %", *(f"{100 * level:g}" for level in COVERAGE_LEVELS)]]
    for label in ("laplace", "measured"):
        inside.append([f"{label} intervals", *(f"{100 * coverage[label][i]:.1f}" for i in at)])
    errors = [["", "NLL", "UCE", "ENCE"], ["θ as trained", f"{nll['as trained']:.3f}", "", ""]]
    for label, key in (("θ' calibrated", "theta"), ("perfect Laplace", "perfect Laplace")):
        value = nll["calibrated" if key == "theta" else key]
        rest = (f"{result[name][key]:.3f}" for name in ("uce", "ence"))
        errors.append([label, f"{value:.3f}", *rest])
    keys = {"AUSE": "ause", "AUSE per image": "ause_per_image", "AURG": "aurg"}
    keys["Spearman"] = "spearman"
    order = [["", *keys]]
    for label, found in result["ranking"].items():
        order.append([label, *(f"{found[key]:.3f}" for key in keys.values())])
    tables = "\n".join(markdown_table(rows) for rows in (inside, errors, order))
    correlation, misses = psnr["spearman"], result["conformal_misses"]
    conformal = ""
    if misses is not None:
        conformal = f"Outside the conformal intervals: {100 * misses:.1f} % on average.\n"
    ranked = "" if correlation is None else f", rank correlation {correlation:.2f}"
    return (
        f"\n## {result['dataset']}: {result['images']} images{how}\n\n{tables}\n"
        f"{conformal}PSNR (RGB) foretold by θ', without the HR image: off by"
        f" {psnr['mean_absolute_difference']:.2f} dB on average{ranked}.\n"
    )


def _draw(path: Path, result: dict[str, Any]) -> None:
    """Four panels: reliability, coverage, sparsification, foretold PSNR."""
    figure = Figure(figsize=(11, 9.5), layout="constrained")
    figure.suptitle(f"{result['dataset']}: {result['images']} images")
    (bins, shares), (ranks, psnrs) = figure.subplots(2, 2)

    theta, error = np.array(result["reliability"])[:, :2].T
    bins.loglog(theta, error, "o-", label="found")
    bins.loglog(theta, theta, "k:", label="expected")
    bins.set(xlabel="mean θ' of a bin, grey levels", ylabel="mean |HR − SR|", title="Reliability")

    levels = np.array(result["coverage"]["levels"]) * 100
    for label in ("laplace", "measured"):
        shares.plot(levels, 100 * np.array(result["coverage"][label]), label=f"{label} intervals")
    shares.plot([0, 100], [0, 100], "k:", label="expected")
    shares.set(xlabel="nominal level, %", ylabel="values inside, %", title="Coverage")

    removed = 100 * cal.FRACTIONS
    for label, found in result["ranking"].items():
        style = "--" if label == "perfect Laplace" else "-"
        name = f"{label} (AUSE {found['ause']:.3f})"
        ranks.plot(removed, found["sparsification"], style, label=name)
    ranks.plot(removed, result["oracle"], "k-", label="oracle")
    ranks.axhline(1, color="k", linestyle=":", label="random order")
    ranks.set(xlabel="most uncertain values left out, %", ylabel="mean |HR − SR| of the rest")
    ranks.set_title("Sparsification; 1 is the mean of all")

    found = [image["psnr"] for image in result["per_image"]]
    foretold = [image["expected_psnr"] for image in result["per_image"]]
    ends = [min(found + foretold), max(found + foretold)]
    psnrs.plot(foretold, found, "o", label="images")
    psnrs.plot(ends, ends, "k:", label="expected")
    psnrs.set(
        xlabel="PSNR (RGB) foretold by θ', dB", ylabel="PSNR (RGB), dB", title="Foretold PSNR"
    )

    for axes in (bins, shares, ranks, psnrs):
        axes.legend(framealpha=0.6)
        axes.grid(alpha=0.3)
    with complete_file(path) as temporary:
        figure.savefig(temporary, dpi=80)
