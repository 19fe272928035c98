"""Downloads from and uploads to model hubs, with stand-ins for their clients."""

import inspect
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from udl_tf.errors import UserError
from udl_tf.hub import presets, upload_preset
from udl_tf.hub.handles import FILES, fetch, is_handle

PRESET = presets.FOLDER / "edsr_light_x4"


class Hub:
    """Hub in a folder, with the functions of huggingface_hub and kagglehub that are used."""

    def __init__(self, folder: Path):
        self.folder, self.calls = folder, []

    def snapshot_download(self, repo_id, *, revision, allow_patterns):
        self.calls.append((repo_id, revision, allow_patterns))
        if not (self.folder / repo_id).exists():
            raise ConnectionError("404: no such repository\nsecond line")
        return str(self.folder / repo_id)

    def create_repo(self, repo_id, *, exist_ok):
        (self.folder / repo_id).mkdir(parents=True, exist_ok=exist_ok)

    def upload_folder(self, *, repo_id, folder_path, allow_patterns):
        for name in allow_patterns:
            shutil.copy(Path(folder_path) / name, self.folder / repo_id)

    def model_download(self, handle):
        self.calls.append(handle)
        return str(self.folder / handle)

    def model_upload(self, handle, local_model_dir, *, ignore_patterns):
        ignore = shutil.ignore_patterns(*ignore_patterns)
        shutil.copytree(local_model_dir, self.folder / handle, ignore=ignore)


@pytest.mark.parametrize("package", ["huggingface_hub", "kagglehub"])
def test_the_stand_in_has_the_signatures_of_the_clients(package):
    client = pytest.importorskip(package, reason="needs the extra hub")
    names = {
        "huggingface_hub": ("snapshot_download", "create_repo", "upload_folder"),
        "kagglehub": ("model_download", "model_upload"),
    }
    for name in names[package]:
        own = inspect.signature(getattr(Hub, name)).parameters
        theirs = inspect.signature(getattr(client, name)).parameters
        assert {*own} - {"self"} <= {*theirs}, name


@pytest.fixture
def hub(tmp_path, monkeypatch):
    hub = Hub(tmp_path / "hub")
    for name in ("huggingface_hub", "kagglehub"):
        monkeypatch.setitem(sys.modules, name, hub)
    fetch.cache_clear()
    yield hub
    fetch.cache_clear()


@pytest.mark.parametrize("handle", ["hf://someone/bird_x4", "kaggle://someone/bird/keras/x4"])
def test_a_preset_is_uploaded_and_found_by_its_handle(hub, handle, tmp_path):
    folder = shutil.copytree(PRESET, tmp_path / "own")
    (folder / "notes.pkl").write_text("private")
    upload_preset(handle, folder)
    found = presets.find(handle)
    assert found == presets.find(handle) == hub.folder / handle.partition("://")[2]
    assert len(hub.calls) == 1  # once per process
    assert {path.name for path in found.iterdir()} == set(FILES)


def test_a_revision_is_passed_on(hub):
    shutil.copytree(PRESET, hub.folder / "someone/bird")
    presets.find("hf://someone/bird@v1.2")
    assert hub.calls == [("someone/bird", "v1.2", list(FILES))]
    with pytest.raises(UserError, match="expected a handle without a revision"):
        upload_preset("hf://someone/bird@v1.2", PRESET)


def test_damaged_downloads_are_refused(hub):
    folder = shutil.copytree(PRESET, hub.folder / "someone/bird")
    content = json.loads((folder / "metadata.json").read_text())
    (folder / "metadata.json").write_text(json.dumps(content | {"sha256": "0" * 64}))
    with pytest.raises(UserError, match=r"hf://someone/bird: model.weights.h5 does not match"):
        presets.find("hf://someone/bird")
    (folder / "model.weights.h5").unlink()
    with pytest.raises(UserError, match=r"has no file model.weights.h5: expected a preset"):
        presets.find("hf://someone/bird")
    with pytest.raises(
        UserError, match=r"nobody/x: cannot be downloaded \(404: no such repository\)"
    ):
        presets.find("hf://nobody/x")


def test_handles_and_missing_packages_are_one_line(monkeypatch, tmp_path):
    assert not any(map(is_handle, ("edsr_s_x4", "grpc://host:1/x", Path("hf://a/b"), "hf:/a")))
    with pytest.raises(UserError, match="is not a handle of a preset: expected hf://USER/NAME"):
        fetch("hf://only_a_user")
    with pytest.raises(UserError, match="expected a handle such as hf://USER/NAME"):
        upload_preset("s3://a/b", PRESET)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"needs the package huggingface_hub: pip install"):
        fetch("hf://someone/bird")
    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace())
    with pytest.raises(UserError, match=r"has no file config.json"):
        upload_preset("hf://someone/bird", tmp_path)
