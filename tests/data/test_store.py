"""The folder of computed LR images; `ImageStore` is tested with the sources."""

import os
from pathlib import Path

import pytest

from udl_tf.config import DataConfig
from udl_tf.data.store import cache_folder


def test_the_cache_is_the_folder_of_the_config_or_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fallback = tmp_path / "fallback"
    assert cache_folder(DataConfig(cache_dir="named"), fallback) == Path("named")
    assert cache_folder(DataConfig(), fallback) == tmp_path / "udl_tf/lr"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder(DataConfig(), fallback) == tmp_path / "home/.cache/udl_tf/lr"


@pytest.mark.parametrize("reason", ["no home", "no folder", "read only"])
def test_without_a_folder_of_the_user_the_fallback_is_used(reason, tmp_path, monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if reason == "no home":
        monkeypatch.setattr(Path, "home", no_home)
    elif reason == "no folder":
        (tmp_path / "file").touch()
        monkeypatch.setenv("HOME", str(tmp_path / "file"))
    else:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert cache_folder(DataConfig(), tmp_path / "fallback") == tmp_path / "fallback"
