"""The same as `udl-tf export tflite`."""

import sys

from udl_tf._support import command_line
from udl_tf.commands.export import FLAGS
from udl_tf.commands.export import main as export


def main(arguments: list[str] | None = None) -> None:
    export(["tflite", *(sys.argv[1:] if arguments is None else arguments)])


if __name__ == "__main__":
    command_line.run(main, flags=FLAGS)
