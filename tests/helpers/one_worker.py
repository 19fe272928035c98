"""Run as a program: one worker of a run. Prints the checksums of its weights after each step."""

import json
import sys

from udl_tf._support import command_line
from udl_tf._support.config_file import load_config
from udl_tf._support.stderr import quiet


def main(_):
    config, folder, *overrides = sys.argv[1:]
    with quiet():
        from udl_tf.training.run import train
    notes = train(load_config(config, overrides), folder)
    print(json.dumps([step["weights"] for step in notes["steps"]]))


if __name__ == "__main__":
    command_line.run(main)
