"""What the tests of several workers share: small runs, each worker a real process here."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import tensorflow as tf
from benchmarks.workers import free_ports
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from helpers.commands import ROOT
from udl_tf.distributed.cluster import Cluster

TESTS = ROOT / "tests"
CONFIG = {
    "model": {
        "name": "edsr_s",
        "scale": 2,
        "options": {"num_blocks": 1, "num_filters": 8, "shift": 127.5, "divide": 127.5},
    },
    "data": {"train": ["bundled"], "test": ["bundled"], "hr_patch_size": 32, "batch_size": 12},
    "optimizer": {"name": "sgd", "learning_rate": 1e-4, "ema": 0.9},
    "steps": [
        {"loss": "esu", "updates": 20},
        {"loss": "udl", "updates": 20, "weighting": {"source": "uncertainty"}},
    ],
    "training": {"precision": "float32", "interval": 10, "log_every": 1},
    "evaluation": {"figures": 0},
}


def start(count, program, *arguments, last=()):
    """Starts a program on so many workers; the last one gets further arguments."""
    addresses = tuple(f"localhost:{port}" for port in free_ports(count))
    workers = []
    for index in range(count):
        env = os.environ | {"TF_CONFIG": Cluster(addresses, index).tf_config(), "PYTHONPATH": ROOT}
        command = [sys.executable, TESTS / program, *arguments]
        command += last if index == count - 1 else ()
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        workers.append(subprocess.Popen(command, env=env, **pipes))
    return workers


def ends(workers, timeout=120):
    """(exit code, stdout, stderr) of each."""
    try:
        outputs = [worker.communicate(timeout=timeout) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    return [(w.returncode, *output) for w, output in zip(workers, outputs, strict=True)]


def start_run(count, config, folder, *overrides, last=()):
    distributed = "distribution.strategy=multi_worker"
    return start(count, "one_worker.py", config, folder, distributed, *overrides, last=last)


def wait_for(condition, workers):
    until = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < until
        assert all(worker.poll() is None for worker in workers), ends(workers)
        time.sleep(0.05)


def losses(run):
    """Of every update, as TensorBoard's files tell."""
    values = []
    for folder in sorted((run / "tensorboard").iterdir()):
        events = EventAccumulator(str(folder), {"tensors": 0})
        events.Reload()
        points = {e.step: tf.make_ndarray(e.tensor_proto) for e in events.Tensors("train/loss")}
        values += [points[step] for step in sorted(points)]
    return np.array(values)


def checksums(results):
    """Of the weights of each step, which all workers must have."""
    assert [code for code, *_ in results] == [0] * len(results), results[0][2] + results[-1][2]
    first, *others = [out.splitlines()[-1] for _, out, _ in results]
    assert others == [first] * len(others)
    return json.loads(first)
