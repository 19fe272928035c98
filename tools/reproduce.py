"""Runs a table of the paper again: every loss or weighting with one equal number of updates.

    python tools/reproduce.py losses --set data.root=DATA

The same command again goes on where it stopped. Writes OUTPUT/losses.md, and what every run reached
to the record, whose runs are not trained again.
"""

from pathlib import Path

from udl_tf._support import command_line
from udl_tf._support.config_file import load_config
from udl_tf._support.files import write_text
from udl_tf._support.stderr import quiet
from udl_tf._support.tables import markdown_table

_CONFIG = Path(__file__).parent.parent / "configs" / "tables" / "light_x4.json"


def main(arguments: list[str] | None = None) -> None:
    parser = command_line.make_parser("python tools/reproduce.py", __doc__)
    parser.add_argument("table", choices=["losses", "weightings", "variants"])
    parser.add_argument(
        "--config",
        default=_CONFIG,
        help="of two steps: network, data, and the updates of each (default: tables/light_x4.json)",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a config key"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument(
        "--output", type=Path, help="folder of the runs (default: runs/tables/CONFIG_NAME)"
    )
    parser.add_argument(
        "--record", type=Path, help="file of what every run reached (default: OUTPUT/record.json)"
    )
    options = parser.parse_args(arguments)
    config = load_config(options.config, options.set)
    output = options.output or Path("runs/tables") / Path(options.config).stem

    with quiet():
        from benchmarks.reproduce import budget, reproduction_table, run_table

    record = options.record or output / "record.json"
    results = run_table(options.table, config, options.seeds, output, record, print)
    text = budget(config, options.seeds) + markdown_table(reproduction_table(results, config.model))
    write_text(output / f"{options.table}.md", text)
    print(f"\n{text}written: {output / options.table}.md")


if __name__ == "__main__":
    command_line.run(main)
