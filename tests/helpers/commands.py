"""Commands and tools, run in this process or in one of their own."""

import contextlib
import io
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

TESTS = Path(__file__).parent.parent
ROOT = TESTS.parent

# Without optimisation, XLA compiles three times faster; the networks of tests are tiny anyway.
JAX = {"KERAS_BACKEND": "jax", "XLA_FLAGS": "--xla_backend_optimization_level=0"}


@dataclass
class Result:
    """Outcome of a command: exit code and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def run_command(command: str, *arguments, cwd: Path = ROOT) -> Result:
    """Runs `udl-tf command` in this process."""
    from udl_tf.__main__ import main
    from udl_tf._support import command_line

    return _run(lambda: command_line.run(main, [command, *map(str, arguments)]), cwd)


def train_options(workplace: Path, run: str, *more) -> list:
    """Returns the options of a run in a workplace."""
    return ["--config", workplace / "tiny.json", "--output", workplace / run, *more]


def train_in(workplace: Path, run: str, *more) -> Result:
    """Runs `udl-tf train` in a workplace."""
    return run_command("train", *train_options(workplace, run, *more))


def run_tool(name: Path | str, *arguments, cwd: Path = ROOT) -> Result:
    """Runs `python tools/name`, or a program elsewhere, in this process."""
    path = str(ROOT / "tools" / name)
    with mock.patch.object(sys, "argv", [path, *map(str, arguments)]):
        return _run(lambda: runpy.run_path(path, run_name="__main__"), cwd)


def _run(run: Callable[[], object], cwd: Path) -> Result:
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), contextlib.chdir(cwd):
        try:
            run()
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else 0 if exit_.code is None else 1
    return Result(code, out.getvalue(), err.getvalue())


def run_process(module: str, *arguments, cwd: Path = ROOT, **environment):
    """Runs `python -m module` in a process of its own, which finds the helpers too."""
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(TESTS), **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def assert_one_line_error(result, *parts: str) -> None:
    """Asserts that a command failed with exit code 2 and one line of error that holds `parts`."""
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, result.stderr
    assert result.stderr.rstrip().splitlines()[-1] == errors[0]
    for part in parts:
        assert part in errors[0]
