"""Run as a program: `udl-tf train ...`, which sends itself a signal when it logs a line.

python -m helpers.with_signal NUMBER PATTERN [OPTION ...]
"""

import logging
import os
import re
import runpy
import sys


class SignalAt(logging.Handler):
    """Sends this process a signal as soon as a line that matches `pattern` is logged."""

    def __init__(self, pattern: str, number: int):
        super().__init__()
        self.pattern, self.number = pattern, number

    def emit(self, record):
        if re.search(self.pattern, record.getMessage()):
            os.kill(os.getpid(), self.number)


if __name__ == "__main__":
    _, number, pattern, *options = sys.argv
    logging.getLogger("udl_tf").addHandler(SignalAt(pattern, int(number)))
    sys.argv = ["udl_tf.train", *options]
    runpy.run_module("udl_tf.train", run_name="__main__")
