"""The same as `udl-tf import-torch`."""

from udl_tf._support import command_line
from udl_tf.commands.import_torch import main

if __name__ == "__main__":
    command_line.run(main)
