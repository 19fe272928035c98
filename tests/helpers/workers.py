"""Workers of small runs, each a process on this machine."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np

from benchmarks.workers import free_ports
from helpers.commands import ROOT, TESTS
from helpers.runs import loss_curve, tiny_config
from udl_tf.distributed.cluster import Cluster


def workers_config(folder, **changes):
    """Writes the config of a run that two or three workers can share; returns the file."""
    config = tiny_config(folder, size=(40, 48))
    config["model"]["options"] |= {"shift": 127.5, "divide": 127.5}
    config["data"] |= {"hr_patch_size": 32, "batch_size": 12}
    config["optimizer"] = {"name": "sgd", "learning_rate": 1e-4, "ema": 0.9}
    config["steps"] = [
        {"loss": "esu", "updates": 20},
        {"loss": "udl", "updates": 20, "weighting": {"source": "uncertainty"}},
    ]
    config["training"] |= {"interval": 5, "log_every": 1}
    file = folder / "config.json"
    file.write_text(json.dumps(config | changes))
    return file


def start(*jobs):
    """Starts a worker for each list of jobs (helpers.one_worker)."""
    addresses = tuple(f"localhost:{port}" for port in free_ports(len(jobs)))
    workers = []
    for index, own in enumerate(jobs):
        env = os.environ | {
            "TF_CONFIG": Cluster(addresses, index).tf_config(),
            "PYTHONPATH": f"{ROOT}:{TESTS}",
        }
        command = [sys.executable, "-m", "helpers.one_worker", json.dumps(own, default=str)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        workers.append(subprocess.Popen(command, env=env, **pipes))
    return workers


@dataclass
class Outcome:
    """Outcome of a job on one worker: exit code, stderr, result."""

    code: int
    stderr: str
    result: list | None = None

    @property
    def last_line(self):
        return self.stderr.splitlines()[-1]


def outcomes(workers, timeout=200):
    """Waits for the workers; returns per worker the outcomes of the jobs that it did."""
    try:
        outputs = [worker.communicate(timeout=timeout) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    for worker, (_, error) in zip(workers, outputs, strict=True):
        assert worker.returncode in (0, -9), error
    return [[Outcome(*json.loads(line)) for line in out.splitlines()] for out, _ in outputs]


def wait_for(condition, workers):
    until = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < until
        assert all(worker.poll() is None for worker in workers), outcomes(workers)
        time.sleep(0.05)


def losses(run):
    """Returns the loss of every update."""
    curves = [loss_curve(folder) for folder in sorted((run / "tensorboard").iterdir())]
    return np.array([points[update] for points in curves for update in sorted(points)])


def checksums(job):
    """Returns the checksums of the weights after each step, which all workers must have."""
    assert [outcome.code for outcome in job] == [0] * len(job), job
    first, *others = [outcome.result for outcome in job]
    assert others == [first] * len(others)
    return first
