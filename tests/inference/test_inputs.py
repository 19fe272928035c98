"""Which files of a folder are upscaled, and what is told of the others."""

import os

import pytest
from helpers.folders import lock_folder
from helpers.images import mark_as_result, write_noise

from udl_tf.errors import UserError
from udl_tf.inference import inputs as inputs_module
from udl_tf.inference.inputs import find_inputs


def places(found):
    return [place.as_posix() for _, place in found.files]


def test_files_that_are_not_read_are_counted_by_kind(tmp_path, monkeypatch):
    reasons = {".heic": "not supported: convert it"}
    monkeypatch.setattr(inputs_module, "reason", reasons.get)
    write_noise(tmp_path / "in/a.png")
    for name in ("b.heic", "sub/c.HEIC", "d.txt", "e", ".hidden.heic"):
        (tmp_path / "in/sub").mkdir(exist_ok=True)
        (tmp_path / "in" / name).touch()
    found = find_inputs([tmp_path / "in"], tmp_path / "out", (".png",))
    assert places(found) == ["a.png"]
    assert str(found.skipped) == "2 .heic files (not supported: convert it), 2 other files"
    (tmp_path / "in/a.png").unlink()
    with pytest.raises(UserError, match=r"in: holds no image but 2 \.heic .*files; expected files"):
        find_inputs([tmp_path / "in"], tmp_path / "out", (".png",))


def test_links_to_folders_are_named_and_links_to_files_are_inputs(tmp_path):
    write_noise(tmp_path / "in/a.png")
    write_noise(tmp_path / "other/b.png")
    (tmp_path / "in/link").symlink_to(tmp_path / "other")
    (tmp_path / "in/cycle").symlink_to(tmp_path / "in")
    (tmp_path / "in/c.png").symlink_to(tmp_path / "other/b.png")
    found = find_inputs([tmp_path / "in"], tmp_path / "out")
    assert places(found) == ["a.png", "c.png"]
    assert str(found.skipped) == "2 linked folders (not followed unless given as an input)"
    assert places(find_inputs([tmp_path / "in/link"], tmp_path / "out")) == ["b.png"]


@pytest.mark.parametrize("kind", ["broken", "loop", "pipe"])
def test_only_regular_files_are_read(kind, tmp_path):
    write_noise(tmp_path / "in/a.png")
    odd = tmp_path / "in/b.png"
    if kind == "pipe":
        os.mkfifo(odd)
    else:
        odd.symlink_to(odd if kind == "loop" else tmp_path / "gone.png")
    found = find_inputs([tmp_path / "in"], tmp_path / "out")
    assert places(found) == ["a.png"]
    (error,) = found.skipped.failed
    assert str(error).startswith(f"{odd}: not a regular file")
    with pytest.raises(UserError, match=r"b\.png: not a regular file"):
        find_inputs([odd], tmp_path / "out")


def test_a_folder_that_cannot_be_listed_fails_and_the_others_are_searched(tmp_path, monkeypatch):
    for name in ("a.png", "locked/b.png", "open/c.png"):
        write_noise(tmp_path / "in" / name)

    lock_folder(monkeypatch, "locked")
    found = find_inputs([tmp_path / "in"], tmp_path / "out")
    assert places(found) == ["a.png", "open/c.png"]
    assert [str(error) for error in found.skipped.failed] == [
        f"{tmp_path / 'in/locked'}: cannot be listed (Permission denied): check its permissions"
    ]
    with pytest.raises(UserError, match="locked: cannot be listed"):
        find_inputs([tmp_path / "in/locked"], tmp_path / "out")


def test_maps_without_a_mark_belong_to_the_result_beside_them(tmp_path):
    mark_as_result(write_noise(tmp_path / "a.png"))
    mark_as_result(write_noise(tmp_path / "b.gif.png"))
    for name in ("a_theta", "a_mask", "b.gif.png_total", "c_theta", "theta"):
        (tmp_path / f"{name}.npy").touch()
    found = find_inputs([tmp_path], tmp_path, (".png", ".npy"))
    assert places(found) == ["a_mask.npy", "c_theta.npy", "theta.npy"]
    assert str(found.skipped) == "4 earlier results (in the output folder)"


def test_earlier_results_in_the_output_folder_are_no_inputs(tmp_path):
    write_noise(tmp_path / "a.jpg")
    for name in ("a.png", "a_theta.png", "sub/b.png"):
        mark_as_result(write_noise(tmp_path / name))
    found = find_inputs([tmp_path], tmp_path)
    assert places(found) == ["a.jpg"]
    assert str(found.skipped) == "3 earlier results (in the output folder)"
    # As the shell expands *.
    assert places(find_inputs(sorted(tmp_path.glob("*.*")), tmp_path)) == ["a.jpg"]
    assert len(find_inputs([tmp_path], tmp_path / "other").files) == 4
    with pytest.raises(UserError, match="all inputs are earlier results"):
        find_inputs([tmp_path / "a.png"], tmp_path)
