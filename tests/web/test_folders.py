import time
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from udl_tf.errors import UserError
from udl_tf.web.folders import LIFETIME, Folders, save_view


@pytest.fixture
def folders():
    folders = Folders()
    yield folders
    folders.close()


def test_results_are_removed_after_an_hour(folders):
    result = folders.new(0)
    (result / "a.png").write_bytes(b"1")
    folders.remove_old(time.time() + LIFETIME - 60)
    assert (result / "a.png").exists()
    folders.remove_old(time.time() + LIFETIME + 60)
    assert not result.exists()
    assert folders.results.exists()
    assert LIFETIME == 3600


def test_results_that_do_not_fit_on_the_disk_are_one_line(folders, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=2e9))
    with pytest.raises(UserError, match=r"needs up to 2\.1 GB of disk space, 2\.0 GB are free"):
        folders.new(int(2.1e9))
    assert list(folders.results.iterdir()) == []
    assert folders.new(int(2e9)).is_dir()


def test_closing_removes_everything(folders):
    folders.new(0)
    folders.close()
    assert not folders.root.exists()


def test_views_have_new_names_and_few_are_kept(folders):
    result, image = folders.new(0), np.full((4, 6, 3), 90, np.uint8)
    files = [save_view(result, image) for _ in range(40)]
    assert len(set(files)) == 40
    assert files[-1].exists()
    assert not files[0].exists()
    assert len(list((result / "views").iterdir())) <= 21
    assert np.abs(np.asarray(Image.open(files[-1])).astype(int) - 90).max() <= 1
    folders.remove_old(time.time() + LIFETIME + 60)
    with pytest.raises(FileNotFoundError):
        save_view(result, image)
