"""Reproduces a table of the paper: every loss or weighting with the same number of updates.

    python tools/reproduce.py losses --set data.root=DATA

Writes the table OUTPUT/losses.md, and a record with the results of every run; runs in the record
are not trained again. Run the same command again to resume.
"""

from pathlib import Path

from udl_tf._support import command_line
from udl_tf._support.config_file import load_config
from udl_tf._support.files import write_text
from udl_tf._support.stderr import quiet
from udl_tf._support.tables import markdown_table

FLAGS = {"overrides": "--set"}
_CONFIG = Path(__file__).parent.parent / "configs" / "tables" / "light_x4.json"


def main(arguments: list[str] | None = None) -> None:
    parser = command_line.make_parser("python tools/reproduce.py", __doc__)
    parser.add_argument("table", choices=["losses", "weightings", "variants"])
    parser.add_argument(
        "--config",
        default=_CONFIG,
        help="config with two steps: network, data, and the updates of each step (default:"
        " tables/light_x4)",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a config key"
    )
    parser.add_argument(
        "--rows", nargs="+", default=[], metavar="ROW", help='such as "ESU → L1" (default: all)'
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument(
        "--output", type=Path, help="folder of the runs (default: runs/tables/CONFIG)"
    )
    parser.add_argument(
        "--record",
        type=Path,
        help="file with the results of every run (default: OUTPUT/record.json)",
    )
    options = parser.parse_args(arguments)
    config = load_config(options.config, options.set)
    output = options.output or Path("runs/tables") / Path(options.config).stem

    with quiet():
        from benchmarks.reproduce import budget, reproduction_table, run_table

    record = options.record or output / "record.json"
    results = run_table(options.table, config, options.seeds, output, record, print, options.rows)
    text = budget(config, options.seeds) + markdown_table(reproduction_table(results, config.model))
    write_text(output / f"{options.table}.md", text)
    print(f"\n{text}written: {output / options.table}.md")


if __name__ == "__main__":
    command_line.run(main, flags=FLAGS)
