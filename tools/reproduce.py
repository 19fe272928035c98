"""Runs a table of the paper again: every loss or weighting with one equal number of updates.

    python tools/reproduce.py losses --config configs/tables/light_x4.json --set data.root=DATA

The same command again goes on where it stopped. Writes OUTPUT/losses.md and losses.json.
"""

from pathlib import Path

from udl_tf import cli
from udl_tf.config_file import load_config
from udl_tf.files import write_json, write_text
from udl_tf.tables import markdown_table


def main(arguments: list[str] | None = None) -> None:
    parser = cli.make_parser("python tools/reproduce.py", __doc__)
    parser.add_argument("table", choices=["losses", "weightings", "variants"])
    parser.add_argument(
        "--config", required=True, help="of two steps: network, data, and the updates of each"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a config key"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument(
        "--output", type=Path, help="folder of the runs (default: runs/tables/CONFIG_NAME)"
    )
    options = parser.parse_args(arguments)
    config = load_config(options.config, options.set)
    output = options.output or Path("runs/tables") / Path(options.config).stem

    with cli.quiet():
        from udl_tf.benchmark.reproduce import reproduction_table, run_table

    results = run_table(options.table, config, options.seeds, output, print)
    first, second = (step.updates for step in config.steps)
    text = (
        f"{config.model.name} ×{config.model.scale}, {first:,} + {second:,} updates of"
        f" {config.data.batch_size} patches, or as many in one step; seeds"
        f" {', '.join(map(str, options.seeds))}; {', '.join(config.data.train)}\n\n"
    )
    text += markdown_table(reproduction_table(results))
    write_json(output / f"{options.table}.json", {"seeds": options.seeds, "results": results})
    write_text(output / f"{options.table}.md", text)
    print(f"\n{text}written: {output / options.table}.md")


if __name__ == "__main__":
    cli.run(main)
