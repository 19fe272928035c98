import argparse
import os
import sys

import pytest

from udl_tf._support.command_line import check_positive, progress_bar, run
from udl_tf._support.stderr import quiet
from udl_tf.errors import Interrupted, Lost, UserError


def outcome(error, capsys, **options):
    """Returns (exit code, stderr) of a command that raises an error."""

    def main(arguments):
        raise error

    with pytest.raises(SystemExit) as exit_:
        run(main, [], **options)
    return exit_.value.code, capsys.readouterr().err


def test_errors_end_with_one_line_and_their_exit_code(capsys):
    assert outcome(UserError("x: wrong: fix it"), capsys) == (2, "error: x: wrong: fix it\n")
    assert outcome(OSError(28, "No space left", "a.png"), capsys) == (
        2, "error: a.png: No space left\n",
    )  # fmt: skip
    assert outcome(Interrupted("stopped: run again"), capsys) == (130, "stopped: run again\n")
    assert outcome(Lost("worker 1 stopped"), capsys) == (75, "error: worker 1 stopped\n")
    assert outcome(KeyboardInterrupt(), capsys) == (130, "stopped\n")


def test_the_option_of_an_argument_follows_the_message(capsys):
    error = UserError("x exists", argument="max_pixels")
    assert outcome(error, capsys)[1] == "error: x exists (--max-pixels)\n"
    flags = {"max_pixels": "--max-megapixels"}
    assert outcome(error, capsys, flags=flags)[1] == "error: x exists (--max-megapixels)\n"


@pytest.mark.parametrize("value", [0, -1.0, float("inf"), float("nan")])
def test_options_must_be_positive_and_finite(value):
    check_positive(argparse.Namespace(tile=3, memory=None), "tile", "memory")
    with pytest.raises(UserError, match=r"--max-size .*: expected a positive number"):
        check_positive(argparse.Namespace(max_size=value), "max_size")


def test_a_progress_bar_is_silent_without_a_terminal(capsys):
    with progress_bar("images") as progress:
        progress(1, 2, "a.png")
        progress(2, None)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("error", [None, UserError("wrong"), RuntimeError("crash")])
def test_stderr_of_native_code_is_shown_only_after_a_crash(error, capfd):
    def block():
        with quiet():
            os.write(2, b"noise\n")
            if error:
                raise error

    if error:
        with pytest.raises(type(error)):
            block()
    else:
        block()
    os.write(2, b"after\n")
    sys.stderr.flush()
    crashed = isinstance(error, RuntimeError)
    assert capfd.readouterr().err == ("noise\n" if crashed else "") + "after\n"
