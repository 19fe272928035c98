"""Lists the trained models that come with the package, or describes one of them.

udl-tf presets [NAME]
"""

from collections.abc import Iterator
from typing import Any

from udl_tf._support import command_line
from udl_tf._support.json_files import read_json
from udl_tf._support.tables import markdown_table
from udl_tf.errors import UserError, nearest
from udl_tf.saved import presets


def main(arguments: list[str] | None = None) -> None:
    parser = command_line.make_parser("udl-tf presets", __doc__)
    parser.add_argument("name", nargs="?", help="preset to describe")
    options = parser.parse_args(arguments)
    if options.name is None:
        print(presets_table(), end="")
        return
    if options.name not in presets.names():
        known = nearest(options.name, presets.names())
        raise UserError(f"preset {options.name!r} is unknown, {known}")
    print(card(options.name))


def presets_table() -> str:
    """Returns a Markdown table of all presets with their size and results."""
    by_set = {name: {r["dataset"]: r for r in results(name)} for name in presets.names()}
    sets = list(dict.fromkeys(dataset for found in by_set.values() for dataset in found))
    cells = [["preset", "MB", *(f"{dataset} (bicubic)" for dataset in sets), "80 % intervals"]]
    for name, found in by_set.items():
        size = sum(p.stat().st_size for p in (presets.FOLDER / name).rglob("*.h5")) / 1e6
        values = [
            f"{r['psnr_y']:.3f} ({r['bicubic_psnr_y']:.2f})" if (r := found.get(dataset)) else ""
            for dataset in sets
        ]
        shares = [f"{100 * r['coverage_80']:.0f}" for r in found.values() if "coverage_80" in r]
        covered = f"cover {', '.join(shares)} %" if shares else ""
        cells.append([name, f"{size:.1f}", *values, covered])
    return markdown_table(cells)


def card(name: str) -> str:
    """Returns the model card of a preset as text."""
    lines = [f"# {name}", *(f"{key}: {value}" for key, value in description(name))]
    lines.append(f"files: {presets.FOLDER / name}")
    for result in results(name):
        line = (
            f"{result['dataset']} ({result['images']} images): PSNR-Y {result['psnr_y']:.3f} dB"
            f" (bicubic {result['bicubic_psnr_y']:.3f}), SSIM-Y {result['ssim_y']:.4f}"
            f" (bicubic {result['bicubic_ssim_y']:.4f})"
        )
        if "coverage_80" in result:
            line += f"; 80 % intervals cover {100 * result['coverage_80']:.1f} %"
        lines.append(line)
    return "\n".join(lines)


def description(name: str) -> list[tuple[str, str]]:
    """Returns network, training, calibration, licence and limits of a preset, in words."""
    model = _read(name, "model.json")
    architecture, calibration = model["architecture"], model["calibration"]
    options = ", ".join(f"{key} {value}" for key, value in architecture["options"].items())
    network = f"{architecture['name']} x{architecture['scale']} ({options or 'as published'})"
    return [
        ("network", network),
        *_history(model["training"]),
        ("theta", f"calibrated on {calibration['data']}" if calibration else "none"),
        ("licence", model["licence"]),
        ("limits", model["limits"]),
    ]


def results(name: str) -> list[dict[str, Any]]:
    """Returns the results of a preset per test set, as udl_tf.evaluation.evaluate does."""
    return _read(name, "metrics.json")["results"]


def _history(training: dict[str, Any], title: str = "trained") -> Iterator[tuple[str, str]]:
    """Describes the steps and data of a training, and those of the models it started from."""
    yield title, _training(training)
    if origin := training.get("origin"):
        yield from _history(origin, f"started from {origin['name']}")


def _training(training: dict[str, Any]) -> str:
    if "steps" not in training:
        return f"imported from {training['imported']}"
    steps = [
        (f"{step['updates_done']:,} of " if "updates_done" in step else "")
        + f"{step['updates']:,} updates of {step['loss']}"
        + (" (uncertainty head)" if step.get("train") == "uncertainty_head" else "")
        for step in training["steps"]
    ]
    return f"{', then '.join(steps)}; on {training['data']['text']}"


def _read(name: str, file: str) -> dict[str, Any]:
    return read_json(presets.FOLDER / name / file)


if __name__ == "__main__":
    command_line.run(main)
