"""The stand-in in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from helpers.commands import ROOT, TESTS


@contextmanager
def running_server(folder: Path) -> Iterator[tuple[int, str, str]]:
    """Runs the stand-in for a model; yields (process id, gRPC address, REST address)."""
    command = [sys.executable, "-m", "helpers.serving", str(folder)]
    command += ["--grpc-port", "0", "--rest-port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, text=True, cwd=ROOT, env=environment) as process:
        try:
            assert process.stdout is not None
            grpc, rest = process.stdout.readline().strip(), process.stdout.readline().strip()
            assert rest, "the server did not start"
            yield process.pid, grpc, rest
        finally:
            process.terminate()
