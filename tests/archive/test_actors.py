"""Actors: how the machines of a cluster are divided, and what stops a job. Without Ray."""

from dataclasses import astuple, replace

import pytest

from udl_tf.archive import actors
from udl_tf.archive.storage import Storage
from udl_tf.errors import UserError


@pytest.mark.parametrize(
    ("machines", "count", "expected"),
    [
        ([(16, 0)], None, (1, 16, 0.0)),
        ([(16, 0)], 3, (3, 5, 0.0)),
        ([(0, 0), (8, 0), (8, 0)], None, (2, 8, 0.0)),  # a head that does no work
        ([(64, 0), (16, 4)], None, (4, 4, 1.0)),
        ([(16, 2)], 3, (3, 5, 0.5)),
        ([(64, 0), (8, 1), (8, 2)], None, (3, 4, 1.0)),
    ],
)
def test_actors_get_what_machines_have_room_for(machines, count, expected, monkeypatch):
    nodes = [{"Alive": True, "Resources": {"CPU": cpus, "GPU": gpus}} for cpus, gpus in machines]
    monkeypatch.setattr(actors.ray, "nodes", lambda: nodes)
    assert astuple(actors.allot(count)) == expected
    with pytest.raises(UserError, match="1000 actors: no room for them on machines of") as error:
        actors.allot(1000)
    assert error.value.argument == "actors"


def test_all_machines_must_share_the_folders(work, table, tmp_path):
    actor = actors._Actor(work, 1)
    (row,) = actor(table(work)).to_pylist()
    assert "is another folder: choose one that all machines of the cluster share" in row["error"]
    Storage(work.output).write("job.json", b"{}")
    assert actor(table(work))["error"].null_count == 4
    gone = actors._Actor(replace(work, input=str(tmp_path / "elsewhere")), 1)
    (row,) = gone(table(work)).to_pylist()
    assert "elsewhere: no such folder" in row["error"]


def test_an_address_without_a_cluster_is_one_line(monkeypatch):
    def refuse(address, **options):
        raise ConnectionError("refused")

    monkeypatch.setattr(actors.ray, "init", refuse)
    for address, line, argument in (
        ("a:1", r"address a:1: no Ray cluster \(refused\); if it requires a token", "address"),
        (None, r"Ray cannot be started on this machine \(refused\)", None),
    ):
        with pytest.raises(UserError, match=line) as error, actors.open_ray(address):
            pass
        assert error.value.argument == argument
