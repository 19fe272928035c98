"""Short form of `udl-tf import-torch`."""

import sys

from udl_tf.__main__ import main
from udl_tf._support import command_line

if __name__ == "__main__":
    command_line.run(main, ["import-torch", *sys.argv[1:]])
