"""Workers of a run: TF_CONFIG, and starting together."""

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks.workers import free_ports
from udl_tf.distributed.__main__ import main
from udl_tf.distributed.cluster import PORT, Cluster, meet, read_cluster
from udl_tf.errors import Lost, UserError


def tf_config(monkeypatch, cluster, kind="worker", index=0):
    content = {"cluster": cluster, "task": {"type": kind, "index": index}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(content))


def test_workers_are_counted_from_the_first(monkeypatch):
    tf_config(monkeypatch, {"worker": ["a:1", "b:2"]}, index=1)
    assert read_cluster() == Cluster(("a:1", "b:2"), 1)
    assert not read_cluster().is_chief


def test_a_chief_comes_before_the_workers(monkeypatch):
    cluster = {"worker": ["a:1", "b:2"], "chief": ["c:3"]}
    tf_config(monkeypatch, cluster, "chief")
    assert read_cluster().addresses == ("c:3", "a:1", "b:2")
    assert read_cluster().is_chief
    tf_config(monkeypatch, cluster, "worker", 1)
    assert read_cluster().index == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "needs the environment variable TF_CONFIG"),
        ("nonsense", "TF_CONFIG nonsense: expected"),
        (
            '{"cluster": {"worker": ["a:1"]}}',
            r"expected .* python -m udl_tf\.distributed --help",
        ),
        ('{"cluster": {"worker": "a:1"}, "task": {"type": "worker", "index": 0}}', "not a list"),
        ('{"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}', "HOST:PORT"),
        (
            '{"cluster": {"worker": ["a:99999"]}, "task": {"type": "worker", "index": 0}}',
            "1..65535",
        ),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": ["worker"], "index": 0}}', "of type"),
        (
            '{"cluster": {"worker": ["a:1"], "ps": []}, "task": {"type": "worker", "index": 0}}',
            "tasks of type 'ps'; expected only 'worker'",
        ),
        (
            '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
            "the task is worker 1, but the cluster has worker 0: use one of these",
        ),
    ],
)
def test_a_wrong_tf_config_is_one_line(text, message, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if text is not None:
        monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UserError, match=message):
        read_cluster()


def test_the_command_prints_what_the_workers_read(monkeypatch, capsys):
    main(["--hosts", "a", "b:7", "--index", "1"])
    monkeypatch.setenv("TF_CONFIG", capsys.readouterr().out)
    assert read_cluster() == Cluster((f"a:{PORT}", "b:7"), 1)
    with pytest.raises(UserError, match=r"--index 2: expected 0\.\.1"):
        main(["--hosts", "a", "b", "--index", "2"])
    main(["--hosts", "[::1]", "[::1]:7", "--index", "1"])
    monkeypatch.setenv("TF_CONFIG", capsys.readouterr().out)
    assert read_cluster() == Cluster((f"[::1]:{PORT}", "[::1]:7"), 1)
    for hosts in (["::1"], ["a:99999"], ["a", "--port", "99999"]):
        with pytest.raises(UserError, match=rf"--hosts {hosts[0]}, --port \d+: expected HOST"):
            main(["--hosts", *hosts, "--index", "0"])


def test_an_invalid_host_name_is_one_line():
    cluster = Cluster(("node..1:7", f"localhost:{free_ports(1)[0]}"), 1)
    with pytest.raises(UserError, match=r"node\.\.1:7: not a valid host name"):
        meet(cluster, 5)


@pytest.mark.parametrize("index", [0, 1])
def test_a_taken_port_is_named_before_training(index):
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        addresses = ["localhost:1", "localhost:2"]
        addresses[index] = f"localhost:{port}"
        with pytest.raises(UserError, match=f"cannot listen at localhost:{port} .*choose"):
            meet(Cluster(tuple(addresses), index), 1.0)


def test_an_unreachable_chief_is_named_with_the_reason():
    with pytest.raises(Lost, match=r"waiting for the chief \(localhost:1\) or another.*refused"):
        meet(Cluster(("localhost:1", "localhost:0"), 1), 0.3)


def addresses(count):
    return tuple(f"localhost:{port}" for port in free_ports(count))


def report(cluster):
    """Connects to the chief as a worker does; returns the connection."""
    port = int(cluster.addresses[0].rpartition(":")[2])
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            chief = socket.create_connection(("localhost", port), timeout=5)
        except OSError:
            continue
        chief.sendall(f"{cluster.index} {len(cluster.addresses)}".encode())
        return chief
    raise TimeoutError


def test_workers_meet_whoever_starts_first():
    names = addresses(3)
    with ThreadPoolExecutor() as pool:
        others = [pool.submit(meet, Cluster(names, index), 10) for index in (2, 1)]
        meet(Cluster(names, 0), 10)
        assert [other.result() for other in others] == [None, None]


def test_missing_workers_are_named_on_all_others():
    names = addresses(3)
    with ThreadPoolExecutor() as pool:
        chief, last = (pool.submit(meet, Cluster(names, index), 0.5) for index in (0, 2))
        with pytest.raises(Lost, match=r"timed out waiting for workers 1 \(localhost:\d+\): check"):
            chief.result()
        with pytest.raises(Lost, match=r"timed out waiting for the chief \(localhost:\d+\) or ano"):
            last.result()


def test_a_worker_that_stops_while_waiting_is_missing_until_it_starts_again():
    names = addresses(3)
    with ThreadPoolExecutor() as pool:
        chief = pool.submit(meet, Cluster(names, 0), 10)
        report(Cluster(names, 1)).close()
        last = pool.submit(meet, Cluster(names, 2), 10)
        time.sleep(0.3)
        assert not chief.done()
        meet(Cluster(names, 1), 10)
        assert (chief.result(), last.result()) == (None, None)


def test_a_worker_of_another_run_does_not_count():
    names = addresses(2)
    with ThreadPoolExecutor() as pool:
        chief = pool.submit(meet, Cluster(names, 0), 1)
        with report(Cluster((*names, "localhost:1"), 1)) as other:
            assert other.recv(2) == b""
        with pytest.raises(Lost, match="timed out waiting for workers 1 "):
            chief.result()
