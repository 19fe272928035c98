"""Run as a program in place of `python -m udl_tf.train` by the tests of launchers.

It meets the other workers, checks its options, and writes what a run writes, without TensorFlow. A
run of 3000 updates lasts until SIGTERM.
"""

import contextlib
import io
import json
import signal
import sys
from pathlib import Path

from udl_tf import train
from udl_tf._support import command_line
from udl_tf.distributed.cluster import meet, read_cluster
from udl_tf.errors import Interrupted


def main(options):
    cluster = read_cluster()
    name = f"worker {cluster.index} of {len(cluster.addresses)}"
    print(f"{name}: waiting for the others", file=sys.stderr)
    meet(cluster, 60)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    resolved = io.StringIO()
    with contextlib.redirect_stdout(resolved):
        train.main([*options, "--print-config"])
    config = json.loads(resolved.getvalue())
    assert config["distribution"]["strategy"] == "multi_worker"
    if cluster.index == 0:
        folder = Path(options[options.index("--output") + 1])
        folder.mkdir()
        (folder / "config.json").write_text(resolved.getvalue())
        (folder / "checkpoint.npz").touch()
    if config["steps"][0]["updates"] == 3000:
        signal.sigwait([signal.SIGTERM])
        raise Interrupted("stopped, saved: run the same command again to resume")
    if cluster.index == 0:
        (folder / "results.md").touch()


if __name__ == "__main__":
    command_line.run(lambda _: main(sys.argv[1:]))
