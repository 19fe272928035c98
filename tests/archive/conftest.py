"""Fixtures of the archive tests: a small archive, and `udl-tf batch` in this process."""

import warnings

import pytest
import ray.data
from helpers.commands import run_command
from helpers.images import fill_folder

from udl_tf import batch as batch_module
from udl_tf.archive.job import _blocks
from udl_tf.archive.storage import Storage
from udl_tf.archive.worker import Work
from udl_tf.inference.inputs import Skipped
from udl_tf.inference.jobs import Options


@pytest.fixture(scope="session")
def ray_data():
    """Creates the context of Ray Data, which warns about its own defaults."""
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
        entries = list(Storage(work.input).images(Storage(work.output), Skipped()))
        (block,) = _blocks(entries, 1)
        return block

    return make


@pytest.fixture
def batch(ray_data, monkeypatch):
    """Function: runs `udl-tf batch` in this process, without a second one that watches it."""

    def run(*arguments):
        with monkeypatch.context() as patched:
            patched.setenv("UDL_TF_BATCH_WATCHED", "1")
            patched.setattr(batch_module, "_prepare_process", lambda: None)
            return run_command("batch", *arguments)

    return run


class LocalData:
    """Replaces a Ray dataset; its actors run in this process."""

    def __init__(self, tables):
        self._tables = tables

    def map_batches(self, kind, fn_constructor_args, **_):
        actor = kind(*fn_constructor_args)
        return LocalData(map(actor, self._tables))

    def iter_batches(self, **_):
        return iter(self._tables)


@pytest.fixture
def local_actors(monkeypatch):
    """Runs actors in this process, without Ray, as on one machine with two processors."""
    machine = {"Alive": True, "Resources": {"CPU": 2.0}}
    for name in ("init", "shutdown"):
        monkeypatch.setattr(ray, name, lambda *_, **__: None)
    monkeypatch.setattr(ray, "nodes", lambda: [machine])
    monkeypatch.setattr(ray.data, "from_arrow", LocalData)
