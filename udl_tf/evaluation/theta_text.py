"""Text of a report on a calibration of theta."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from udl_tf._support.tables import markdown_table
from udl_tf.uncertainty import Calibration

COVERAGE_LEVELS = (0.5, 0.8, 0.9, 0.95)


def report_text(results: Sequence[dict[str, Any]], calibration: Calibration, model: str) -> str:
    """Returns the report as Markdown; arguments as for write_report."""
    measured = "bands" in results[0]
    channels = len(calibration.a)
    names = [f"band {i + 1}" for i in range(channels)] if measured or channels != 3 else "RGB"
    fits = zip(names, calibration.a, calibration.b, strict=True)
    if calibration.method == "scale":
        formula = "θ' = c θ, c = " + ", ".join(f"{np.exp(a):.3f} ({n})" for n, a, _ in fits)
    else:
        formula = "θ' = exp(a + b ln θ), a, b = " + ", ".join(
            f"{a:.3f}, {b:.3f} ({n})" for n, a, b in fits
        )
    text = f"# Calibration of {model}\n\nFitted on {calibration.data}: {formula}.\n"
    if measured:
        text += f"\nErrors and θ are in {unit_name(results[0])}; a and b are for θ in 1/255 of the"
        text += " value range.\n"
    if (guarantee := calibration.conformal) is not None:
        text += (
            f"\nConformal intervals: sr ± {guarantee.factor:.3f} θ'. With probability"
            f" {1 - guarantee.delta:g} over the draw of the {guarantee.images} calibration images,"
            f" the expected share of values outside is at most {guarantee.alpha:g} for a new image"
            " of the same kind.\n"
        )
    return text + "".join(_section(result) for result in results)


def title_of(result: dict[str, Any]) -> str:
    """Returns the headline of a set: its name and number of images."""
    count = result["images"]
    return f"{result['dataset']}: {count} image{'s' if count > 1 else ''}"


def _section(result: dict[str, Any]) -> str:
    """Returns the part of the text on one set."""
    psnr, head = result["psnr"], title_of(result)
    if result["fitted_on_these"]:
        alone = result["images"] == 1
        head += ", also used for the fit" if alone else ", each assessed with a fit to the others"
    tables = [_coverage_table(result), _error_table(result), _ranking_table(result)]
    if "bands" in result:
        tables.insert(1, _band_table(result))
    if "groups" in result:
        tables.append(_group_table(result))
    text = f"\n## {head}\n\n{_verdict(result)}\n\n" + "\n".join(map(markdown_table, tables)) + "\n"
    if (misses := result["conformal_misses"]) is not None:
        text += f"Values outside the conformal intervals: {100 * misses:.1f} % on average.\n"
    text += (
        f"{psnr_name(result)} predicted from θ' alone, without the HR image: mean absolute error"
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


def psnr_name(result: dict[str, Any]) -> str:
    """Returns what the PSNR of the report is called."""
    return "PSNR" if "bands" in result else "PSNR (RGB)"


def unit_name(result: dict[str, Any]) -> str:
    """Returns the unit of errors and theta in the report."""
    return result.get("unit", "grey levels")


def _shares(coverage: Sequence[float], result: dict[str, Any]) -> list[str]:
    """Returns the coverage at COVERAGE_LEVELS, in percent."""
    levels = result["coverage"]["levels"]
    return [f"{100 * coverage[levels.index(level)]:.1f}" for level in COVERAGE_LEVELS]


def _coverage_table(result: dict[str, Any]) -> list[list[str]]:
    rows = [["values inside, %", *(f"{100 * level:g}" for level in COVERAGE_LEVELS)]]
    for label, key in (("Laplace intervals", "laplace"), ("measured intervals", "measured")):
        rows.append([label, *_shares(result["coverage"][key], result)])
    return rows


def _band_table(result: dict[str, Any]) -> list[list[str]]:
    inside = (f"in {100 * level:g} % intervals, %" for level in COVERAGE_LEVELS)
    rows = [["band", "mean absolute error", "mean θ'", *inside]]
    for number, band in enumerate(result["bands"], 1):
        numbers = (f"{band[key]:.4g}" for key in ("mean_error", "mean_theta"))
        rows.append([str(number), *numbers, *_shares(band["measured"], result)])
    return rows


def _group_table(result: dict[str, Any]) -> list[list[str]]:
    inside = (f"in {100 * level:g} % intervals, %" for level in COVERAGE_LEVELS)
    rows = [["pixels", "share, %", *inside]]
    for name, group in result["groups"].items():
        rows.append([name, f"{100 * group['share']:.1f}", *_shares(group["measured"], result)])
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
