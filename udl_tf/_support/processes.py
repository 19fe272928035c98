"""Child processes that a command starts and waits for."""

import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def run_to_its_end(
    command: Sequence[str | Path], env: Mapping[str, str] | None = None
) -> tuple[int, bool]:
    """Runs a child process; forwards Ctrl-C, SIGTERM and SIGHUP to it as SIGTERM.

    A signal that is ignored, as SIGHUP under nohup, stays ignored. If this process is killed, the
    standard input of the child reaches its end.

    Args:
        command: program and arguments.
        env: environment of the child; None: that of this process.

    Returns:
        (exit code, negative for the signal that killed the child; whether a signal was forwarded).
    """
    child, stopped = None, False

    def stop(number, frame):
        nonlocal stopped
        stopped = True
        if child is not None:
            child.terminate()

    handlers = {
        number: signal.signal(number, stop)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) != signal.SIG_IGN
    }
    try:
        # In a process group of its own, the child does not get the terminal's Ctrl-C as well.
        with subprocess.Popen(command, stdin=subprocess.PIPE, env=env, process_group=0) as child:
            if stopped:  # before the child was known to the handler
                child.terminate()
            return child.wait(), stopped
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
