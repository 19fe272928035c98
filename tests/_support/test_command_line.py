import argparse
import io
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([""], "argument 1: is empty; expected a value (the working folder is .)"),
        (["a.png", " "], "argument 2: is empty"),
        (["a.png", "--output", ""], "--output: is empty"),
        (["--output="], "--output: is empty"),
    ],
)
def test_empty_arguments_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        run(lambda _: pytest.fail("ran"), arguments)
    assert exit_.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")


def test_arguments_that_only_end_with_an_equals_sign_are_not_empty():
    received = []
    run(received.extend, ["--set", "data.root=", "--set=data.root="])
    assert received == ["--set", "data.root=", "--set=data.root="]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_any_text_can_be_printed_in_any_encoding(encoding, monkeypatch):
    raw = {name: io.BytesIO() for name in ("stdout", "stderr")}
    for name, buffer in raw.items():
        monkeypatch.setattr(sys, name, io.TextIOWrapper(buffer, encoding))

    def main(arguments):
        print("θ \udce9.png → ×4")
        raise UserError("caf\udce9.png: bad")

    with pytest.raises(SystemExit):
        run(main, [])
    for name in raw:
        getattr(sys, name).flush()
    assert r"\udce9.png" in raw["stdout"].getvalue().decode(encoding)
    assert raw["stderr"].getvalue().decode(encoding) == "error: caf\\udce9.png: bad\n"


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
