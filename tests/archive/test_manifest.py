"""The manifest: parts, merged into one table with the newest row per image."""

import os
from datetime import UTC, datetime

from udl_tf.archive import manifest
from udl_tf.archive.storage import Entry, Storage

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)


def test_the_newest_row_of_an_image_counts(tmp_path):
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


def test_rows_of_images_that_are_gone_can_be_dropped(tmp_path):
    storage = Storage(str(tmp_path))
    row = {"source_bytes": 5, "source_modified": NOW, "finished": NOW}
    manifest.write_part(storage, "1", [row | {"source": "a.png", "output": "a.png"}])
    manifest.write_part(storage, "2", [row | {"source": "b.png", "error": "broken"}])
    assert len(manifest.gather(storage)) == 2
    assert len(manifest.gather(storage, without=["b.png"])) == len(manifest.gather(storage)) == 1


def test_merged_parts_are_removed(tmp_path):
    storage = Storage(str(tmp_path))
    assert manifest.gather(storage).num_rows == 0
    assert os.listdir(tmp_path) == []  # nothing is written for no image
    manifest.write_part(storage, "1", [{"source": "a.png", "finished": NOW}])
    manifest.gather(storage)
    assert os.listdir(tmp_path / manifest.FOLDER) == []
