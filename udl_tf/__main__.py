"""The udl-tf command, which runs the command that its first argument names.

    udl-tf COMMAND [OPTION ...]

python -m udl_tf COMMAND does the same.
"""

import sys
from importlib import import_module

import udl_tf
from udl_tf._support import command_line
from udl_tf.errors import UserError, nearest

COMMANDS = {
    "upscale": ("udl_tf.upscale", "upscale images, with a map of their uncertainty"),
    "web": ("udl_tf.commands.web", "upscale images on a page in the browser"),
    "presets": ("udl_tf.presets", "list the trained models that come with the package"),
    "train": ("udl_tf.train", "train a network from a config file"),
    "configs": ("udl_tf.commands.configs", "list the configs that come with the package"),
    "data": ("udl_tf.data.__main__", "check or pack a folder of training images"),
    "evaluate": ("udl_tf.evaluate", "measure PSNR and SSIM on test sets"),
    "calibrate": (
        "udl_tf.calibrate",
        "calibrate theta on held-out images, and report how reliable it is",
    ),
    "export": ("udl_tf.commands.export", "export a model: savedmodel, tflite or onnx"),
    "import-torch": ("udl_tf.commands.import_torch", "import a PyTorch checkpoint"),
    "batch": ("udl_tf.batch", "upscale collections of any number of images with Ray"),
    "check-server": ("udl_tf.commands.check_server", "check a model on TensorFlow Serving"),
    "doctor": ("udl_tf.doctor", "report versions, hardware and throughput, for bug reports"),
}


def main(arguments: list[str] | None = None) -> None:
    """Runs the command that the first argument names."""
    arguments = sys.argv[1:] if arguments is None else arguments
    name, *rest = arguments or ["--help"]
    if name == "--version":
        print(f"udl-tf {udl_tf.__version__}")
    elif name in ("-h", "--help"):
        print(_help(), end="")
    elif name not in COMMANDS:
        raise UserError(f"udl-tf {name}: unknown command, {nearest(name, COMMANDS)}")
    else:
        module = import_module(COMMANDS[name][0])
        command_line.run(module.main, rest, getattr(module, "FLAGS", None))


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items()]
    return (
        "usage: udl-tf COMMAND [OPTION ...]\n\nSingle-image super-resolution with calibrated"
        " uncertainty.\n\ncommands:\n"
        + "\n".join(lines)
        + "\n\nudl-tf COMMAND --help explains a command; udl-tf --version prints the version.\n"
    )


def run() -> None:
    """Entry point of the console script."""
    command_line.run(main)


if __name__ == "__main__":
    run()
