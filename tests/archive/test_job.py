"""Jobs over an archive before any image is upscaled."""

from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from udl_tf.archive import manifest
from udl_tf.archive.job import ArchiveJob
from udl_tf.archive.settings import settings_of, write_settings
from udl_tf.archive.storage import Storage
from udl_tf.errors import UserError


def test_a_name_is_the_preset_even_if_a_folder_of_that_name_exists(work, tmp_path, monkeypatch):
    """The folder was used, although the command checks the preset."""
    monkeypatch.chdir(tmp_path)
    for name in ("light_x4", "own"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr("udl_tf.archive.settings.fingerprint", lambda model: None)
    for model, expected in (
        ("light_x4", "light_x4"),
        ("hf://someone/bird", "hf://someone/bird"),
        ("grpc://localhost:8500/bird", "grpc://localhost:8500/bird"),
        ("./light_x4", str(tmp_path / "light_x4")),
        ("own", str(tmp_path / "own")),
    ):
        assert ArchiveJob(replace(work, model=model))._settings["model"] == expected


def test_a_manifest_of_another_program_is_kept(work, tmp_path):
    """--overwrite replaced its rows by empty ones before any image was upscaled."""
    file = tmp_path / "out/manifest.parquet"
    file.parent.mkdir()
    work = replace(work, options=replace(work.options, overwrite=True))
    for content in (pa.table({"a": [1, 2]}), pa.table({name: [[1]] for name in manifest.IDENTITY})):
        pq.write_table(content, file)
        with pytest.raises(UserError, match=r"manifest\.parquet: is damaged, or not a manifest of"):
            ArchiveJob(work)
        assert pq.read_table(file) == content
    file.write_bytes(b"no table")
    with pytest.raises(UserError, match=r"manifest\.parquet: is damaged, or not a manifest of"):
        ArchiveJob(work)
    assert file.read_bytes() == b"no table"


def test_rows_of_failed_images_are_dropped_only_if_the_images_are_gone(work, tmp_path):
    """A job whose input could not be listed, as on an unmounted disk, deleted these rows."""
    images, elsewhere = tmp_path / "in", tmp_path / "elsewhere"
    output = Storage(work.output)
    ArchiveJob(work)
    row = {"source_bytes": 5, "finished": datetime(2026, 1, 2, tzinfo=UTC), "error": "broken"}
    manifest.write_part(output, "1", [row | {"source": n} for n in ("000.png", "gone.png")])
    write_settings(output, settings_of(work, Storage(work.input)))
    images.rename(elsewhere)
    with pytest.raises(UserError, match="no such folder"):
        ArchiveJob(work)
    assert len(manifest.gather(output)) == 2
    elsewhere.rename(images)
    job = ArchiveJob(work)
    job.skipped.failed.append(UserError("a folder that cannot be listed"))
    list(job._waves)
    assert len(manifest.gather(output)) == 2
    list(ArchiveJob(work)._waves)
    assert manifest.gather(output)["source"].to_pylist() == ["000.png"]
