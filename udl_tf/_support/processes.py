"""Programs that a command starts and waits for."""

import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def run_to_its_end(
    command: Sequence[str | Path], env: Mapping[str, str] | None = None
) -> tuple[int, bool]:
    """Runs a program, which gets SIGTERM when this process is asked to stop.

    By Ctrl-C, SIGTERM or SIGHUP, unless they are ignored, as by nohup. When this process is killed,
    the program's standard input ends.

    Args:
        command: program and arguments.
        env: its environment; None: this one.

    Returns:
        (exit code, negative for the signal that ended it; whether this process was asked to stop).
    """
    program, stopped = None, False

    def stop(number, frame):
        nonlocal stopped
        stopped = True
        if program is not None:
            program.terminate()

    handlers = {
        number: signal.signal(number, stop)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) != signal.SIG_IGN
    }
    try:
        # A group of its own: Ctrl-C in a terminal comes once, from here.
        with subprocess.Popen(command, stdin=subprocess.PIPE, env=env, process_group=0) as program:
            if stopped:
                program.terminate()
            return program.wait(), stopped
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
