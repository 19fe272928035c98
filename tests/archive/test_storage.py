"""An archive's listing, and the manifest of what was made."""

import os
from datetime import UTC, datetime

import pytest
from helpers.images import fill_folder

from udl_tf.archive import manifest
from udl_tf.archive.storage import Entry, Storage
from udl_tf.errors import UserError

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)


def test_an_archive_is_listed_without_what_is_hidden_or_a_result(tmp_path):
    fill_folder(tmp_path, 3)
    fill_folder(tmp_path / "out", 3)
    fill_folder(tmp_path / ".cache", 1)
    (tmp_path / "x.txt").write_text("")
    (tmp_path / "below" / "again").symlink_to(tmp_path)
    found = list(Storage(str(tmp_path)).pictures(Storage(str(tmp_path / "out"))))
    assert [entry.name for entry in found] == ["000.png", "002.png", "below/001.png"]
    assert found[0].size == (tmp_path / "000.png").stat().st_size
    with pytest.raises(UserError, match="nowhere: no such folder"):
        list(Storage(str(tmp_path / "nowhere")).pictures(Storage(str(tmp_path))))
    with pytest.raises(UserError, match="nonsense://x: cannot be opened"):
        Storage("nonsense://x")


def test_keys_in_a_uri_are_not_shown():
    storage = Storage("s3://KEY:SECRET@bucket/photos?region=eu-central-1")
    assert storage.place == "s3://bucket/photos"


def test_the_newest_row_of_a_picture_counts(tmp_path):
    storage = Storage(str(tmp_path))
    first = {"source": "a.png", "source_bytes": 5, "source_modified": NOW, "finished": NOW}
    manifest.write_part(storage, "1", [first | {"error": "broken"}])
    assert Entry("a.png", 5, NOW) not in manifest.Done(manifest.gather(storage))
    later = NOW.replace(year=2027)
    manifest.write_part(storage, "2", [first | {"output": "a.png", "finished": later}])
    for _ in range(2):
        table = manifest.gather(storage)
        (row,) = table.to_pylist()
        assert (row["output"], row["error"]) == ("a.png", None)
        done = manifest.Done(table)
        assert Entry("a.png", 5, NOW) in done
        assert Entry("a.png", 6, NOW) not in done
        assert Entry("a.png", 5, later) not in done
    manifest.write_part(storage, "3", [first | {"source": "b.png", "error": "broken"}])
    assert len(manifest.gather(storage)) == 2
    assert len(manifest.gather(storage, errors=False)) == len(manifest.gather(storage)) == 1
    assert os.listdir(tmp_path / manifest.FOLDER) == []
    assert manifest.gather(Storage(str(tmp_path / "new"))).num_rows == 0
