"""Run as a program: one worker, which does several jobs one after another.

The argument is a JSON list of jobs: [config file, run folder, override, ...] trains, ["keras"]
calls helpers.keras_over_workers. Each prints one JSON line: exit code, stderr, and checksums of the
weights after each step, or what Keras does. All jobs share one group, because TensorFlow can join a
cluster only once per process.
"""

import contextlib
import functools
import io
import json
import sys

from helpers import keras_over_workers
from udl_tf._support import command_line
from udl_tf._support.config_file import load_config
from udl_tf._support.stderr import quiet
from udl_tf.config import DistributionConfig

with quiet():
    from udl_tf.training import run

run.join_group = functools.cache(run.join_group)
DISTRIBUTION = {"strategy": "multi_worker", "wait_minutes": 2.0}


def do(job):
    """Returns the result of a job."""
    if job == ["keras"]:
        group = run.join_group(DistributionConfig.model_validate(DISTRIBUTION))
        return keras_over_workers.outcomes(group.strategy)
    config, folder, *overrides = job
    overrides.append(f"distribution={json.dumps(DISTRIBUTION)}")
    notes = run.train(load_config(config, overrides), folder)
    return [step["weights"] for step in notes["steps"]]


def main():
    for job in json.loads(sys.argv[1]):
        results, error, code = [], io.StringIO(), 0
        with contextlib.redirect_stderr(error):
            try:
                command_line.run(lambda _, job=job, results=results: results.append(do(job)))
            except SystemExit as exit_:
                code = exit_.code
        print(json.dumps([code, error.getvalue(), *results]), flush=True)


if __name__ == "__main__":
    main()
