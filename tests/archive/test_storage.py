"""Folders and object stores: the listing of an archive, and URIs."""

import pytest
from helpers.images import fill_folder

from udl_tf.archive.storage import Storage
from udl_tf.errors import UserError


def test_the_listing_skips_hidden_files_links_and_the_output(tmp_path):
    fill_folder(tmp_path, 3)
    fill_folder(tmp_path / "out", 3)
    fill_folder(tmp_path / ".cache", 1)
    (tmp_path / "x.txt").write_text("")
    (tmp_path / "below" / "again").symlink_to(tmp_path)
    found = list(Storage(str(tmp_path)).images(skip=Storage(str(tmp_path / "out"))))
    assert [entry.name for entry in found] == ["000.png", "002.png", "below/001.png"]
    assert found[0].size == (tmp_path / "000.png").stat().st_size


def test_a_wrong_place_is_one_line(tmp_path):
    with pytest.raises(UserError, match="nowhere: no such folder"):
        list(Storage(str(tmp_path / "nowhere")).images(skip=Storage(str(tmp_path))))
    with pytest.raises(UserError, match="nonsense://x: cannot be opened"):
        Storage("nonsense://x")


def test_keys_in_a_uri_are_not_shown():
    storage = Storage("s3://KEY:SECRET@bucket/photos?region=eu-central-1")
    assert storage.place == "s3://bucket/photos"
