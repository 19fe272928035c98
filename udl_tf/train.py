"""Trains a network from a config file, then calibrates theta and evaluates the network.

    udl-tf train --config dpdnn_x3 [--quick] [--set key=value ...]

Run the same command again to resume a run that was stopped.
"""

import json
from pathlib import Path

from udl_tf._support import command_line
from udl_tf._support.backend import check_backend
from udl_tf._support.config_file import config_name, find_config, load_config
from udl_tf._support.stderr import quiet

FLAGS = {"overrides": "--set"}


def main(arguments: list[str] | None = None) -> None:
    parser = command_line.make_parser("udl-tf train", __doc__)
    parser.add_argument(
        "--config", required=True, help="JSON file, or a name that udl-tf configs lists"
    )
    parser.add_argument(
        "--output",
        "--run-dir",
        help="run folder (default: runs/NAME, after the name of the config)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a config key, such as optimizer.learning_rate=2e-4; repeatable",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="rehearsal in minutes: bundled images, and the sizes of the config's quick section",
    )
    parser.add_argument(
        "--extend",
        action="store_true",
        help="make a run longer: with --set steps.N.updates=MORE, step N continues from its current"
        " weights with a new learning rate schedule, and later steps are trained again",
    )
    parser.add_argument(
        "--print-config", action="store_true", help="print the resolved config and exit"
    )
    options = parser.parse_args(arguments)
    config = load_config(options.config, options.set, options.quick)
    if options.print_config:
        print(json.dumps(config.model_dump(), indent=1))
        return

    check_backend("tensorflow", "jax")
    with quiet():
        from udl_tf.training import train

    name = config_name(find_config(options.config)) + ("-quick" if options.quick else "")
    train(config, options.output or Path("runs") / name, options.extend)


if __name__ == "__main__":
    command_line.run(main, flags=FLAGS)
