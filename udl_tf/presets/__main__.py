"""Lists the trained networks that come with the package, or tells all about one.

python -m udl_tf.presets [NAME]
"""

import json
from typing import Any

from udl_tf import cli, presets
from udl_tf.errors import UserError, nearest
from udl_tf.tables import markdown_table


def main(arguments: list[str] | None = None) -> None:
    parser = cli.make_parser("python -m udl_tf.presets", __doc__)
    parser.add_argument("name", nargs="?", help="of the one to tell about")
    options = parser.parse_args(arguments)
    if options.name is None:
        print(presets_table(), end="")
        return
    if options.name not in presets.names():
        known = nearest(options.name, presets.names())
        raise UserError(f"preset {options.name!r} is unknown, {known}")
    print(card(options.name))


def presets_table() -> str:
    """All presets with their numbers, as a Markdown table."""
    rows = []
    sets: list[str] = []
    for name in presets.names():
        results = _read(name, "metrics.json")["results"]
        found = {r["dataset"]: r for r in results}
        sets += [dataset for dataset in found if dataset not in sets]
        rows.append((name, found))
    cells = [["preset", "MB", *(f"{dataset} (bicubic)" for dataset in sets), "intervals of 80 %"]]
    for name, found in rows:
        size = sum(p.stat().st_size for p in (presets.FOLDER / name).rglob("*.h5")) / 1e6
        values = [
            f"{r['psnr_y']:.3f} ({r['bicubic_psnr_y']:.2f})" if (r := found.get(dataset)) else ""
            for dataset in sets
        ]
        held = [f"{100 * r['coverage_80']:.0f}" for r in found.values() if "coverage_80" in r]
        cells.append([name, f"{size:.1f}", *values, f"hold {', '.join(held)} %" if held else ""])
    return markdown_table(cells)


def card(name: str) -> str:
    """The model card of a preset, as text."""
    model = _read(name, "model.json")
    architecture, training = model["architecture"], model["training"]
    options = ", ".join(f"{key} {value}" for key, value in architecture["options"].items())
    calibration = model["calibration"]
    lines = [
        f"# {name}",
        f"network: {architecture['name']} x{architecture['scale']} ({options or 'as published'})",
        f"trained: {_history(training)}",
        f"theta: {'calibrated on ' + calibration['data'] if calibration else 'none'}",
        f"licence: {model['licence']}",
        f"limits: {model['limits']}",
        f"files: {presets.FOLDER / name}",
    ]
    for result in _read(name, "metrics.json")["results"]:
        line = (
            f"{result['dataset']} ({result['images']} images): PSNR-Y {result['psnr_y']:.3f} dB"
            f" (bicubic {result['bicubic_psnr_y']:.3f}), SSIM-Y {result['ssim_y']:.4f}"
            f" (bicubic {result['bicubic_ssim_y']:.4f})"
        )
        if "coverage_80" in result:
            line += f"; intervals of 80 % hold {100 * result['coverage_80']:.1f} %"
        lines.append(line)
    return "\n".join(lines)


def _history(training: dict[str, Any]) -> str:
    """The steps and data of a training, and of the model that it started from."""
    if "steps" not in training:
        return f"imported from {training['imported']}"
    steps = ", then ".join(f"{s['updates']:,} updates of {s['loss']}" for s in training["steps"])
    text = f"{steps}; on {training['data']['text']}"
    origin = training.get("origin")
    return f"{text}; from {origin['name']} (trained: {_history(origin)})" if origin else text


def _read(name: str, file: str) -> dict[str, Any]:
    return json.loads((presets.FOLDER / name / file).read_text(encoding="utf-8"))


if __name__ == "__main__":
    cli.run(main)
