"""The launchers of deploy/, with the programs that they start replaced.

ssh, srun and pods are processes on this machine. Except in one test, so is the training
(helpers.train_stand_in).
"""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from helpers.commands import ROOT, TESTS
from helpers.workers import workers_config

from benchmarks.workers import free_ports
from udl_tf._support.config_file import find_config
from udl_tf.distributed.cluster import Cluster, read_cluster

pytestmark = pytest.mark.slow

DEPLOY = ROOT / "deploy"
PYTHON = f"""case $* in
  "-m udl_tf.train "*) shift 2; exec {sys.executable} -m helpers.train_stand_in "$@" ;;
  *) exec {sys.executable} "$@" ;;
esac"""


@pytest.fixture
def config(tmp_path):
    return workers_config(tmp_path, steps=[{"loss": "l1", "updates": 2}])


@pytest.fixture
def programs(tmp_path):
    """Adds shell programs to a folder that is first in PATH; `env` is the environment."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def add(name, text):
        file = folder / name
        file.write_text(f"#!/bin/bash\n{text}\n")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)

    add("python", PYTHON)
    path = f"{folder}:{os.environ['PATH']}"
    add.env = os.environ | {"PATH": path, "PYTHONPATH": str(TESTS)}
    return add


def two_hosts():
    return " ".join(f"localhost:{port}" for port in free_ports(2))


def run(command, env, timeout=120):
    command = ["timeout", str(timeout), *command]  # ends the children of the command too
    return subprocess.run(command, env=env, capture_output=True, text=True)


def test_hosts_over_ssh_train_one_run(config, programs, tmp_path):
    programs("python", f'exec {sys.executable} "$@"')  # this test trains
    programs("ssh", '[ "$*" = "$1 $2 localhost $4" ] && exec bash -c "$4"')
    folder = tmp_path / "a run's folder"
    command = [DEPLOY / "train_on_hosts.sh", "--config", config, "--output", folder]
    result = run(command, programs.env | {"HOSTS": two_hosts()})
    assert result.returncode == 0, result.stderr
    assert (folder / "results.md").exists()
    assert "worker 1 of 2" in result.stderr
    assert "patches/s" in result.stderr


def test_ctrl_c_on_the_launcher_stops_all_hosts(config, programs, tmp_path):
    programs("ssh", 'exec bash -c "$4"')
    options = ["--config", config, "--output", tmp_path / "run", "--set", "steps.0.updates=3000"]
    command = [DEPLOY / "train_on_hosts.sh", *options]
    launcher = subprocess.Popen(
        command,
        env=programs.env | {"HOSTS": two_hosts()},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        until = time.monotonic() + 100
        while not (tmp_path / "run" / "checkpoint.npz").exists():
            assert time.monotonic() < until
            time.sleep(0.1)
        launcher.send_signal(signal.SIGTERM)
        _, error = launcher.communicate(timeout=60)
    finally:
        launcher.kill()
    assert launcher.returncode == 130
    assert error.count("run the same command again to resume") == 2


def test_a_host_that_fails_stops_the_others(config, programs, tmp_path):
    programs("ssh", '[ "$3" = one ] && exec bash -c "$4" || { echo no such host >&2; exit 255; }')
    first, second = free_ports(2)
    command = [DEPLOY / "train_on_hosts.sh", "--config", config, "--output", tmp_path / "run"]
    hosts = {"HOSTS": f"one:{first} two:{second}", "PATIENCE": "2"}
    result = run(command, programs.env | hosts, timeout=60)
    assert result.returncode == 255
    assert "no such host" in result.stderr
    assert "worker 0 of 2: waiting for the others" in result.stderr


def slurm(programs, tmp_path, config, meanwhile=""):
    """Stand-ins for SLURM's programs, and the job with its environment."""
    programs(
        "scontrol",
        f"""case "$*" in
          "show hostnames two[0-1]") printf '%s\\n' {two_hosts()} ;;
          *) echo "$*" > {tmp_path}/queued ;;
        esac""",
    )
    programs(
        "srun",
        f"""while [[ $1 == --* ]]; do shift; done
        SLURM_PROCID=0 "$@" & first=$!
        SLURM_PROCID=1 "$@" & second=$!
        {meanwhile}
        wait $first; first=$?
        wait $second; second=$?
        exit $((first > second ? first : second))""",
    )
    env = programs.env | {"SLURM_JOB_NODELIST": "two[0-1]", "SLURM_JOB_ID": "7"}
    job = ["bash", DEPLOY / "train.slurm", "--config", config, "--output", tmp_path / "run"]
    return job, env


def test_slurm_starts_a_worker_per_node_and_requeues_lost_jobs(config, programs, tmp_path):
    job, env = slurm(programs, tmp_path, config)
    result = run(job, env)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "run" / "results.md").exists()
    assert not (tmp_path / "queued").exists()
    for first, second, code, queued in (
        (75, 130, 130, True), (137, 75, 137, True), (75, 2, 2, False), (1, 75, 1, False),
    ):  # fmt: skip
        programs("python", f"codes=({first} {second}); exit ${{codes[SLURM_PROCID]}}")
        assert run(job, env).returncode == code
        assert (tmp_path / "queued").exists() == queued
        (tmp_path / "queued").unlink(missing_ok=True)


def test_slurm_saves_before_the_time_is_over(config, programs, tmp_path):
    # SLURM may signal only the processes that it started, not their children.
    saved = f"until [ -e {tmp_path}/run/checkpoint.npz ]; do sleep 0.1; done"
    job, env = slurm(programs, tmp_path, config, f"{saved}; kill -TERM $first $second")
    result = run([*job, "--set", "steps.0.updates=3000"], env)
    assert result.returncode == 130
    assert result.stderr.count("run the same command again to resume") == 2
    assert (tmp_path / "queued").read_text() == "requeue 7\n"


def test_slurm_takes_the_exit_code_of_workers_that_end_at_the_signal(config, programs, tmp_path):
    programs(
        "python",
        f"""[ $2 = udl_tf.train ] || exit 0
        touch {tmp_path}/started$SLURM_PROCID
        until [ -e {tmp_path}/signalled ]; do sleep 0.1; done""",
    )
    started = f"until [ -e {tmp_path}/started0 -a -e {tmp_path}/started1 ]; do sleep 0.1; done"
    stop = "sleep 0.5; builtin kill -TERM $first $second"
    job, env = slurm(programs, tmp_path, config, f"{started}; {stop}")
    # The shells forward the signal when their workers have ended.
    late = f"[ $1 = -TERM ] && touch {tmp_path}/signalled && sleep 2"
    (tmp_path / "late.sh").write_text(f'kill() {{ {late}; builtin kill "$@"; }}')
    result = run(job, env | {"BASH_ENV": str(tmp_path / "late.sh")})
    assert result.returncode == 0
    assert not (tmp_path / "queued").exists()


def test_kubernetes_starts_the_workers_that_its_service_names(
    config, programs, tmp_path, monkeypatch
):
    service, job = yaml.safe_load_all((DEPLOY / "train.k8s.yaml").read_text())
    name, spec = job["metadata"]["name"], job["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"job-name": name}
    assert pod["subdomain"] == service["metadata"]["name"]
    assert spec["completionMode"] == "Indexed"
    assert spec["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [2]
    env = {entry["name"]: entry["value"] for entry in container["env"]}
    count = spec["completions"]
    assert count == spec["parallelism"]
    assert env["HOSTS"] == " ".join(f"{name}-{i}.{pod['subdomain']}" for i in range(count))
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    paths = Path(env["RUN_DIR"]).parent, Path(env["DATA_ROOT"])
    assert {str(path) for path in paths} == mounted
    assert find_config(env["CONFIG"]).exists()

    # What the pods read from their environment, then what they run, on ports of this machine.
    command = [*container["command"], *container["args"]]
    shown = [*command[:-1], command[-1].replace("exec python", "echo $TF_CONFIG #")]
    for index in range(count):
        pod_env = programs.env | env | {"JOB_COMPLETION_INDEX": str(index)}
        monkeypatch.setenv("TF_CONFIG", run(shown, pod_env).stdout)
        port = container["ports"][0]["containerPort"]
        addresses = tuple(f"{host}:{port}" for host in env["HOSTS"].split())
        assert read_cluster() == Cluster(addresses, index)
    paths = {"CONFIG": config, "DATA_ROOT": tmp_path, "RUN_DIR": tmp_path / "run"}
    env |= {"HOSTS": two_hosts(), **{key: str(path) for key, path in paths.items()}}
    pods = [
        subprocess.Popen(command, env=programs.env | env | {"JOB_COMPLETION_INDEX": str(index)})
        for index in range(count)
    ]
    try:
        assert [pod.wait(timeout=120) for pod in pods] == [0, 0]
    finally:
        for pod in pods:
            pod.kill()
    assert (tmp_path / "run" / "results.md").exists()
