"""Commands, run in this process or in one of their own."""

import contextlib
import io
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parent.parent
ROOT = TESTS.parent


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

    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), contextlib.chdir(cwd):
        try:
            command_line.run(main, [command, *map(str, arguments)])
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else 0 if exit_.code is None else 1
    return Result(code, out.getvalue(), err.getvalue())


def run_process(module: str, *arguments, cwd: Path = ROOT, **environment):
    """Runs `python -m module` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def assert_one_line_error(result, *parts: str) -> None:
    """A command ended with exit code 2 and one line of error that holds `parts`."""
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, result.stderr
    assert result.stderr.rstrip().splitlines()[-1] == errors[0]
    for part in parts:
        assert part in errors[0]
