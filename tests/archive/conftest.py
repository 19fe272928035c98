"""Fixtures of the archive tests: a small archive, and `udl-tf batch` in this process."""

import warnings
from contextlib import nullcontext

import pytest
import ray.data
from helpers.commands import run_command
from helpers.images import fill_folder

import udl_tf.archive
from udl_tf import batch as batch_module
from udl_tf.archive.job import _blocks
from udl_tf.archive.storage import Storage
from udl_tf.archive.worker import Work
from udl_tf.inference.jobs import Options


@pytest.fixture(scope="session")
def ray_data():
    """Ray Data, which warns of its own default settings when its context is created."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.data.DataContext.get_current()


@pytest.fixture
def work(small_run, tmp_path):
    """Work on an archive of four images."""
    fill_folder(tmp_path / "in", 4)
    uris = str(tmp_path / "in"), str(tmp_path / "out")
    return Work(*uris, str(small_run), "float32", Options(theta=True), threads=2)


@pytest.fixture
def table():
    """Function: the table of the images of a Work, as an actor gets it."""

    def make(work):
        entries = list(Storage(work.input).images(skip=Storage(work.output)))
        (block,) = _blocks(entries, 1)
        return block

    return make


@pytest.fixture
def batch(ray_data, monkeypatch):
    """Function: runs `udl-tf batch` in this process, without the one that watches it."""
    monkeypatch.setenv("UDL_TF_BATCH_WATCHED", "1")
    monkeypatch.setattr(batch_module, "_prepare_process", lambda: None)
    return lambda *arguments: run_command("batch", *arguments)


class LocalData:
    """In place of ray.data: actors in this process."""

    def __init__(self, tables):
        self._tables = tables

    def map_batches(self, kind, fn_constructor_args, **_):
        actor = kind(*fn_constructor_args)
        return LocalData(map(actor, self._tables))

    def iter_batches(self, **_):
        return iter(self._tables)


@pytest.fixture
def local_actors(monkeypatch):
    """Runs actors in this process, without Ray."""
    machine = {"Alive": True, "Resources": {"CPU": 2.0}}
    monkeypatch.setattr(udl_tf.archive, "open_ray", lambda address: nullcontext(), raising=False)
    monkeypatch.setattr(ray, "nodes", lambda: [machine])
    monkeypatch.setattr(ray.data, "from_arrow", LocalData)
