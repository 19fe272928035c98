"""Run as a program: one worker of a run. Prints the checksums of its weights after each step."""

import json
import sys

from udl_tf import cli
from udl_tf.config_file import load_config


def main(_):
    config, folder, *overrides = sys.argv[1:]
    with cli.quiet():
        from udl_tf.training.run import train
    notes = train(load_config(config, overrides), folder)
    print(json.dumps([step["weights"] for step in notes["steps"]]))


if __name__ == "__main__":
    cli.run(main)
