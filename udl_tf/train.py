"""Trains a network by a config file: every step, then the result table and pictures.

    python -m udl_tf.train --config configs/dpdnn_x3.json [--quick] [--set key=value ...]

The same command again goes on where the run stopped.
"""

import json
from pathlib import Path

from udl_tf import cli
from udl_tf.config_file import load_config


def main(arguments: list[str] | None = None) -> None:
    parser = cli.make_parser("python -m udl_tf.train", __doc__)
    parser.add_argument("--config", required=True, help="JSON file, such as configs/edsr_s_x4.json")
    parser.add_argument("--run-dir", help="run folder (default: runs/CONFIG_NAME)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a config key, such as optimizer.learning_rate=2e-4; may be repeated",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="rehearse in minutes: bundled images, sizes of the config's section quick",
    )
    parser.add_argument(
        "--print-config", action="store_true", help="print the resolved config and end"
    )
    options = parser.parse_args(arguments)
    config = load_config(options.config, options.set, options.quick)
    if options.print_config:
        print(json.dumps(config.model_dump(), indent=1))
        return

    with cli.quiet():
        from udl_tf.training.run import train

    name = Path(options.config).stem + ("-quick" if options.quick else "")
    train(config, options.run_dir or Path("runs") / name)


if __name__ == "__main__":
    cli.run(main)
