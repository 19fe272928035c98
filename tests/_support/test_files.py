import errno
import fcntl
import json
import os
from pathlib import PureWindowsPath

import pytest

from udl_tf._support.files import (
    complete_file,
    complete_folder,
    fitting_name,
    sha256,
    temporary_path,
    write_text,
)
from udl_tf._support.json_files import parse_model, read_json, write_json
from udl_tf._support.tables import markdown_table
from udl_tf.config import Config
from udl_tf.errors import UserError


@pytest.mark.parametrize("name", ["a.png", "step1-esu.weights.h5"])
def test_a_file_appears_only_when_it_is_complete(name, tmp_path):
    def fail():
        with complete_file(tmp_path / "new" / name) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list((tmp_path / "new").iterdir()) == []
    with complete_file(tmp_path / "new" / name) as temporary:
        assert temporary.name.endswith(name[name.index(".") :])
        temporary.write_text("whole")
        assert not (tmp_path / "new" / name).exists()
    assert [file.read_text() for file in (tmp_path / "new").iterdir()] == ["whole"]


def test_a_full_disk_names_the_file(tmp_path):
    """Writing to an open file raises an error without a name."""

    def fill(error):
        with complete_file(tmp_path / "a.npz") as temporary:
            temporary.write_text("half")
            raise error

    for error in (OSError(errno.ENOSPC, "No space left on device"), OSError("Can't write data")):
        with pytest.raises(OSError, match=f"{error.strerror or error}") as caught:
            fill(error)
        assert caught.value.filename == str(tmp_path / "a.npz")
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match=r"other") as caught:
        fill(OSError(errno.ENOENT, "No such file", "other"))
    assert caught.value.filename == "other"


def test_a_file_that_was_not_written_and_a_folder_are_named(tmp_path):
    """The temporary name was in the message."""
    with pytest.raises(OSError, match="No such file") as caught, complete_file(tmp_path / "a.npz"):
        pass  # nothing was written
    assert caught.value.filename == str(tmp_path / "a.npz")
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(IsADirectoryError) as caught, complete_file(tmp_path / "folder.npz"):
        pytest.fail("a folder cannot be replaced by a file")
    assert caught.value.filename == str(tmp_path / "folder.npz")


@pytest.mark.parametrize("name", ["é" * 125 + ".png", "a." + "b" * 253, "c" * 255])
def test_names_may_have_all_255_bytes(name, tmp_path):
    assert len(os.fsencode(name)) >= 254
    with complete_file(tmp_path / name) as temporary:
        temporary.write_text("whole")
    with complete_folder(tmp_path / "sub" / name) as temporary:
        pass
    assert (tmp_path / name).read_text() == "whole"
    assert (tmp_path / "sub" / name).is_dir()


def test_a_long_stem_is_shortened_and_stays_unambiguous(tmp_path):
    assert fitting_name("é" * 125, ".png") == "é" * 125 + ".png"
    stems = ["é" * 127 + end for end in ("a", "b", "\udcff")]
    names = [fitting_name(stem, "-x4.png") for stem in stems]
    assert len(set(names)) == 3
    for name in names:
        assert name.startswith("ééé")
        assert name.endswith("-x4.png")
        (tmp_path / name).touch()


def test_temporary_names_are_hidden_unique_and_keep_the_suffix():
    first, second = (temporary_path(PureWindowsPath(r"c:\out\a.png")) for _ in range(2))
    assert first != second
    assert first.parent == PureWindowsPath(r"c:\out")
    assert first.name.startswith(".")
    assert first.suffix == ".png"


def test_the_file_is_synchronised_through_a_writable_handle(tmp_path, monkeypatch):
    """Windows refuses fsync on a file that was opened for reading."""
    modes = []

    def fsync(handle):
        modes.append(fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE)

    monkeypatch.setattr(os, "fsync", fsync)
    with complete_file(tmp_path / "a") as temporary:
        temporary.write_text("whole")
    assert modes == [os.O_RDWR]


def test_a_folder_appears_only_when_it_is_complete(tmp_path):
    def fail():
        with complete_folder(tmp_path / "model") as temporary:
            (temporary / "half").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []
    with complete_folder(tmp_path / "model") as temporary:
        (temporary / "whole").touch()
    assert (tmp_path / "model/whole").exists()


def test_a_folder_is_replaced_by_a_complete_one_alone(tmp_path, monkeypatch):
    path, rename = tmp_path / "a.zarr", os.rename
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(RuntimeError), complete_folder(path, replace=True):
        raise RuntimeError

    def fail(source, target):
        if (source / "new").exists():
            raise OSError(errno.EIO, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(OSError, match="Input/output"), complete_folder(path, replace=True) as new:
        (new / "new").touch()
    assert [file.name for file in tmp_path.rglob("*")] == ["a.zarr", "old"]
    monkeypatch.undo()
    with complete_folder(path, replace=True) as new:
        (new / "new").touch()
    assert [file.name for file in tmp_path.rglob("*")] == ["a.zarr", "new"]


def test_the_checksum_of_a_file(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    # NIST's example of SHA-256 for "abc" begins so.
    assert sha256(tmp_path / "abc").startswith("ba7816bf8f01cfea")


def test_names_that_are_not_utf_8_can_be_written(tmp_path):
    write_text(tmp_path / "table.md", os.fsdecode("θ of caf".encode() + b"\xe9"))
    assert (tmp_path / "table.md").read_text("utf-8") == r"θ of caf\udce9"


def test_json_has_no_nan(tmp_path):
    write_json(tmp_path / "x.json", {"a": [1.5, float("nan")], "b": (float("inf"),)})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": [1.5, None], "b": [None]}


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not valid JSON"), ("[1]", "expected a JSON object"), ("\xff", "not valid JSON")],
)
def test_a_damaged_json_file_names_the_remedy(text, message, tmp_path):
    (tmp_path / "x.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=rf"x\.json: {message}.*: delete it$"):
        read_json(tmp_path / "x.json", "delete it")


def test_a_wrong_model_names_all_keys_and_the_source():
    content = {"data": {"batch_sise": 3}, "training": {"seed": -1}}
    with pytest.raises(UserError) as error:
        parse_model(content, Config, "c.json")
    first, second = str(error.value).removeprefix("c.json: ").split("; ", 1)
    assert first == "unknown key data.batch_sise, nearest known: batch_size"
    assert second.startswith("training.seed: got -1; input should be greater than or equal to 0")


def test_a_table_is_aligned():
    assert markdown_table([["a", "bb"], ["ccc", "d"]]) == (
        "| a   | bb |\n"
        "| --- | -- |\n"
        "| ccc | d  |\n"
    )  # fmt: skip
