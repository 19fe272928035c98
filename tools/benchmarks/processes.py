"""Runs measurements in processes of their own, whose memory and threads nothing else uses."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_TOOLS = Path(__file__).parent.parent
_CODE = """
import importlib, json, sys
module, function, arguments = sys.argv[1:]
result = getattr(importlib.import_module(module), function)(*json.loads(arguments))
print(json.dumps(result))
"""


def start(function: Callable, *arguments: Any, **environment: str) -> subprocess.Popen[str]:
    """Starts a function of a module of this package in a new process.

    Args:
        function: the function.
        arguments: its arguments, as JSON can hold them.
        environment: variables to set for the process.
    """
    # The new process finds this package from any working directory.
    path = os.pathsep.join(filter(None, [str(_TOOLS), os.environ.get("PYTHONPATH")]))
    call = [function.__module__, function.__name__, json.dumps(arguments)]
    return subprocess.Popen(
        [sys.executable, "-c", _CODE, *call],
        env=os.environ | {"PYTHONPATH": path} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def results_of(processes: Sequence[subprocess.Popen[str]]) -> list[Any]:
    """Waits for processes of `start`, and returns the results of their functions.

    Raises:
        RuntimeError: with the error output of the first that failed.
    """
    try:
        outputs = [process.communicate() for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, error) in zip(processes, outputs, strict=True):
        if process.returncode:
            raise RuntimeError(error)
    return [json.loads(output.splitlines()[-1]) for output, _ in outputs]
