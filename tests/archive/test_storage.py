"""Folders and object stores: the listing of an archive, writing, and URIs."""

import os
import threading

import pytest
from helpers.images import fill_folder
from pyarrow import fs

from udl_tf.archive.storage import Storage
from udl_tf.errors import UserError
from udl_tf.inference.inputs import Skipped


def listed(folder, results):
    """Returns (names of images, what is skipped) of a folder."""
    skipped = Skipped()
    entries = list(Storage(str(folder)).images(Storage(str(results)), skipped))
    return [entry.name for entry in entries], skipped


def test_the_listing_counts_what_it_skips(tmp_path):
    fill_folder(tmp_path, 3)
    fill_folder(tmp_path / "out", 3)
    fill_folder(tmp_path / ".cache", 1)
    (tmp_path / "x.txt").write_text("")
    (tmp_path / "below" / "again").symlink_to(tmp_path)
    names, skipped = listed(tmp_path, tmp_path / "out")
    assert names == ["000.png", "002.png", "below/001.png"]
    assert str(skipped) == "1 linked folder (not followed unless given as an input), 1 other file"
    (entry, *_) = Storage(str(tmp_path)).images(Storage(str(tmp_path / "out")), Skipped())
    assert entry.size == (tmp_path / "000.png").stat().st_size


def test_what_cannot_be_opened_is_an_error_of_its_own(tmp_path, monkeypatch):
    fill_folder(tmp_path, 2)
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    original = Storage._list

    class Locked(fs.LocalFileSystem):
        def get_file_info(self, wanted):
            if isinstance(wanted, fs.FileSelector) and wanted.base_dir.endswith("below"):
                raise PermissionError(13, "Permission denied")
            return super().get_file_info(wanted)

    def in_locked(storage, *arguments):
        storage._fs = Locked()
        return original(storage, *arguments)

    monkeypatch.setattr(Storage, "_list", in_locked)
    names, skipped = listed(tmp_path, tmp_path / "out")
    assert names == ["000.png"]
    assert sorted(str(error).removeprefix(f"{tmp_path}/") for error in skipped.failed) == [
        "below: cannot be listed (Permission denied): check its permissions",
        "loop.png: not a regular file (a broken link, pipe or device): replace or remove it",
        "pipe.png: not a regular file (a broken link, pipe or device): replace or remove it",
    ]


def test_two_writers_of_a_file_leave_a_whole_one(tmp_path):
    storage, contents = Storage(str(tmp_path)), [bytes([i]) * 100_000 for i in range(4)]
    name = "é" * 127  # 254 bytes, of the 255 that a name may have
    writers = [threading.Thread(target=storage.write, args=(name, c)) for c in contents]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert storage.read(name) in contents
    assert os.listdir(tmp_path) == [name]


def test_a_wrong_place_is_one_line(tmp_path):
    with pytest.raises(UserError, match="nowhere: no such folder"):
        listed(tmp_path / "nowhere", tmp_path)
    with pytest.raises(UserError, match="nonsense://x: cannot be opened"):
        Storage("nonsense://x")


def test_keys_in_a_uri_are_not_shown():
    storage = Storage("s3://KEY:SECRET@bucket/photos?region=eu-central-1")
    assert storage.place == "s3://bucket/photos"
