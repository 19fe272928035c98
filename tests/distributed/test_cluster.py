import json
import socket

import pytest

from udl_tf.distributed.cluster import PORT, Cluster, main, meet, read_cluster
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
        (None, "the environment has no TF_CONFIG"),
        ("nonsense", "TF_CONFIG nonsense: expected"),
        (
            '{"cluster": {"worker": ["a:1"]}}',
            "expected .* python -m udl_tf.distributed.cluster --help",
        ),
        ('{"cluster": {"worker": "a:1"}, "task": {"type": "worker", "index": 0}}', "no list"),
        ('{"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}', "HOST:PORT"),
        (
            '{"cluster": {"worker": ["a:1"], "ps": []}, "task": {"type": "worker", "index": 0}}',
            "tasks of type 'ps'; expected only 'worker'",
        ),
        (
            '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
            "its task is worker 1, and its cluster has worker 0: count from 0",
        ),
    ],
)
def test_a_wrong_tf_config_is_told(text, message, monkeypatch):
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


@pytest.mark.parametrize("index", [0, 1])
def test_a_taken_port_is_told_before_all_begin(index):
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        addresses = ["localhost:1", "localhost:2"]
        addresses[index] = f"localhost:{port}"
        with pytest.raises(UserError, match=f"cannot listen at localhost:{port} .*taken"):
            meet(Cluster(tuple(addresses), index), 1.0)


def test_a_chief_that_cannot_be_reached_is_told_with_the_reason():
    with pytest.raises(Lost, match=r"the chief \(localhost:1\) did not come.*refused"):
        meet(Cluster(("localhost:1", "localhost:0"), 1), 0.3)
