"""What the commands share: how they begin and how they end."""

import argparse
import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from udl_tf import presets
from udl_tf.errors import Interrupted, Lost, UserError

MODEL_HELP = (
    "a preset, such as edsr_s_x4 (python -m udl_tf.presets lists them), or a run folder; or an"
    " exported file or folder, or grpc://HOST:8500/NAME of a server"
)
BUNDLE_HELP = "a preset, such as edsr_s_x4, or a run folder"
MAX_MEGAPIXELS_HELP = (
    "largest input: what declares more is refused, as a decompression bomb (default: 89)"
)
FAST_HELP = "compute in bfloat16 where that is faster here; prints what it costs (no exports)"


def make_parser(prog: str, description: str | None) -> argparse.ArgumentParser:
    """A parser whose help shows a command's module docstring as it is written."""
    return argparse.ArgumentParser(
        prog=prog,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def make_export_parser(prog: str, description: str | None, output: str) -> argparse.ArgumentParser:
    """A parser with the options that all exports share."""
    parser = make_parser(prog, description)
    parser.add_argument("--model", required=True, type=presets.find, help=BUNDLE_HELP)
    parser.add_argument("--output", required=True, type=Path, help=output)
    parser.add_argument(
        "--no-uncertainty",
        dest="uncertainty",
        action="store_false",
        help="the picture only: about half the size and time",
    )
    parser.add_argument(
        "--images",
        type=Path,
        help="folder of HR images for the checks, best like those to come (default: the bundled)",
    )
    parser.add_argument(
        "--licence", help="of the weights, for the model card (default: what the model states)"
    )
    return parser


def check_positive(options: argparse.Namespace, *names: str) -> None:
    """Refuses options that are given and no positive, finite numbers."""
    for name in names:
        value = getattr(options, name)
        if value is not None and not 0 < value < math.inf:
            raise UserError(f"--{name.replace('_', '-')} {value}: expected a positive number")


@contextmanager
def quiet() -> Iterator[None]:
    """Holds back what native code prints, such as TensorFlow's while it is imported.

    It is shown where the block fails with anything but a UserError.

    TF_CPP_MIN_LOG_LEVEL does not reach messages from before its log is set up (tensorflow#100442).
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except UserError:
            raise
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def run(main: Callable[[list[str] | None], None]) -> None:
    """Runs a command: bad input is one line and exit code 2, an interruption exit code 130."""
    try:
        main(None)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # the reader of a pipe, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        print(f"error: {named}{error.strerror or error}", file=sys.stderr)
        sys.exit(2)
    except Interrupted as interruption:
        print(interruption, file=sys.stderr)
        sys.exit(130)
    except Lost as loss:
        print(f"error: {loss}", file=sys.stderr)
        sys.exit(loss.exit_code)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
