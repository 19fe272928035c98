"""Lists the trained models that come with the package, or describes one of them.

udl-tf presets [NAME]
"""

from typing import Any

from udl_tf._support import command_line
from udl_tf._support.json_files import read_json
from udl_tf._support.tables import markdown_table
from udl_tf.errors import UserError, nearest
from udl_tf.hub import presets
from udl_tf.hub.handles import CARD, RESULTS


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
    print(f"{card(options.name)}\nfiles: {presets.FOLDER / options.name}")


def presets_table() -> str:
    """Returns a Markdown table of all presets with their size and results."""
    by_set = {
        name: {r["dataset"]: r for r in results(name) if "degrade" not in r}
        for name in presets.names()
    }
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
    """Returns the model card of a preset in Markdown, without the metadata for hubs."""
    text = (presets.FOLDER / name / CARD).read_text(encoding="utf-8")
    return f"{text.split('---', 2)[2].strip()}\n"


def results(name: str) -> list[dict[str, Any]]:
    """Returns the results of a preset per test set, as udl_tf.evaluation.evaluate does."""
    return read_json(presets.FOLDER / name / RESULTS)["results"]


if __name__ == "__main__":
    command_line.run(main)
