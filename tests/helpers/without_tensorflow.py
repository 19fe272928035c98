"""Run as a program: a module as where TensorFlow is not installed.

python -m helpers.without_tensorflow MODULE [ARGUMENT ...]
"""

import runpy
import sys


class Missing:
    """Finder that reports TensorFlow as not installed."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "tensorflow":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


if __name__ == "__main__":
    sys.meta_path.insert(0, Missing())
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__")
