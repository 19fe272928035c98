"""udl-tf upscale: results, bad files, bad options."""

import re
import struct
import zlib

import numpy as np
import pytest
from helpers.commands import assert_one_line_error, run_command, run_process
from helpers.folders import lock_folder
from helpers.images import declared_png, mark_as_result, noise_image
from PIL import Image


@pytest.fixture(scope="module")
def upscale(transparent_run):
    """The command with a network that repeats pixels."""
    return lambda *arguments: run_command("upscale", *arguments, "--model", transparent_run)


def test_an_image_and_its_map_of_theta(upscale, tmp_path):
    Image.fromarray(noise_image(6, 8)).save(tmp_path / "a.png")
    result = upscale(tmp_path / "a.png", "--output", tmp_path / "out", "--uncertainty", "npy")
    assert result.returncode == 0, result.stderr
    assert "theta is as trained, not calibrated" in result.stdout
    times = r"loaded in \d+\.\d s; first result \d+\.\d s later \(including compilation\)\n"
    assert re.search(times, result.stdout)
    assert result.stdout.splitlines()[-1].startswith("1 of 1 images upscaled in ")
    assert np.asarray(Image.open(tmp_path / "out/a.png")).shape == (12, 16, 3)
    assert np.allclose(np.load(tmp_path / "out/a_theta.npy"), 1.0)


def test_skip_existing(upscale, tmp_path, monkeypatch):
    for name in ("a", "b"):
        Image.fromarray(noise_image(6, 8)).save(tmp_path / f"{name}.png")
    out = tmp_path / "out"
    upscale(tmp_path / "a.png", "--output", out)
    before = (out / "a.png").stat().st_mtime_ns
    result = upscale(tmp_path / "a.png", tmp_path / "b.png", "--output", out, "--skip-existing")
    assert "1 of 2 images upscaled" in result.stdout
    assert "1 already existed (skipped), 0 failed" in result.stdout
    assert (out / "a.png").stat().st_mtime_ns == before
    assert (out / "b.png").exists()
    monkeypatch.setattr("udl_tf.saved.load", None)  # a model that is not needed is not loaded
    result = upscale(tmp_path / "a.png", tmp_path / "b.png", "--output", out, "--skip-existing")
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"0 of 2 images upscaled, 2 already existed (skipped): {out}\n"


def test_a_name_that_is_too_long_fails_by_itself_also_with_skip_existing(upscale, tmp_path):
    for name in ("a", 251 * "b"):  # with ".png", the longest name that file systems store
        Image.fromarray(noise_image(6, 8)).save(tmp_path / f"{name}.png")
    options = "--output", tmp_path / "out", "--format", "tiff", "--skip-existing"
    result = upscale(tmp_path, *options)
    assert result.returncode == 1
    assert "1 of 2 images upscaled" in result.stdout
    assert re.fullmatch(r"failed: .*b\.tiff: its name is longer than 255 bytes.*\n", result.stderr)


def test_plain_maps_have_the_size_of_the_result_and_are_resumed(upscale, tmp_path):
    for name in ("a", "b"):
        Image.fromarray(noise_image(6, 8)).save(tmp_path / f"{name}.png")
    for style, fits in (("plain", True), ("captioned", False)):
        out = tmp_path / style
        command = "--output", out, "--map", style, "--theta-scale", 30, "--skip-existing"
        assert "1 of 1 images upscaled" in upscale(tmp_path / "a.png", *command).stdout
        written = (out / "a_theta.png").stat().st_mtime_ns
        result = upscale(tmp_path / "a.png", tmp_path / "b.png", *command)
        assert "1 of 2 images upscaled" in result.stdout
        assert "1 already existed (skipped), 0 failed" in result.stdout
        assert (out / "a_theta.png").stat().st_mtime_ns == written
        for name in ("a", "b"):
            with Image.open(out / f"{name}_theta.png") as image:
                assert (image.size == (16, 12)) == fits
                assert image.text["Description"].endswith("pale yellow 30 or more")
    assert_one_line_error(
        upscale(tmp_path / "a.png", "--theta-scale", "0"), "--theta-scale 0.0: expected a positive"
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--outscale", "8"), "x8"),
        (("--outscale", "0.5"), "x0.5"),
        (("--size", "9x7"), "9x7 pixels"),
        (("--outscale", "2"), None),
        ((), None),
    ],
)
def test_resampling_is_stated(upscale, transparent_run, tmp_path, arguments, text):
    Image.fromarray(noise_image(6, 8)).save(tmp_path / "a.png")
    result = upscale(tmp_path / "a.png", "--output", tmp_path / "out", *arguments)
    line = f"{transparent_run} upscales x2: its results are resampled to {text} (bicubic)\n"
    assert result.returncode == 0, result.stderr
    assert (line in result.stdout) == (text is not None)
    assert ("resampled" in result.stdout) == (text is not None)


def test_who_waited_for_a_map_that_was_not_asked_for_is_told_what_is_faster(
    upscale, tmp_path, monkeypatch
):
    Image.fromarray(noise_image(6, 8)).save(tmp_path / "a.png")
    command, text = (
        (tmp_path / "a.png", "--output", tmp_path / "out"),
        "--uncertainty none is faster",
    )
    assert text not in upscale(*command).stdout
    monkeypatch.setattr("udl_tf.upscale._LONG", 0.0)
    assert upscale(*command).stdout.splitlines()[-1].startswith(text)
    for more in (("--uncertainty", "png"), ("--uncertainty", "none"), ("--ensemble",)):
        assert text not in upscale(*command, *more).stdout


def test_a_stopped_run_in_the_folder_of_the_images_resumes(upscale, tmp_path):
    """`upscale . --output .` takes neither its results nor its maps for inputs."""
    command = tmp_path, "--output", tmp_path, "--format", "png", "--uncertainty", "png"
    Image.fromarray(noise_image(6, 8)).save(tmp_path / "a.jpg")
    assert "1 of 1 images upscaled" in upscale(*command).stdout
    for name in ("a.png", "a_theta.png"):
        mark_as_result(tmp_path / name)
    Image.fromarray(noise_image(6, 8)).save(tmp_path / "b.jpg")
    result = upscale(*command, "--skip-existing")
    assert "skipped: 2 earlier results (in the output folder)\n1 of 2 images" in result.stdout
    assert "1 already existed (skipped), 0 failed" in result.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.jpg", "a.png", "a_theta.png", "b.jpg", "b.png", "b_theta.png"]  # fmt: skip
    for name in ("b.png", "b_theta.png"):
        mark_as_result(tmp_path / name)
    (tmp_path / "a_theta.png").unlink()  # an image without its map is upscaled again
    result = upscale(*command, "--skip-existing")
    assert "1 of 2 images upscaled" in result.stdout
    assert "1 already existed (skipped), 1 replaced, 0 failed" in result.stdout
    assert (tmp_path / "a_theta.png").exists()


def test_files_of_others_are_kept_unless_the_option_allows_to_replace_them(upscale, tmp_path):
    Image.fromarray(noise_image(6, 8)).save(tmp_path / "a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.png").write_text("mine")
    command = tmp_path / "a.png", "--output", tmp_path / "out", "--uncertainty", "none"
    result = upscale(*command)
    assert result.returncode == 1
    assert result.stderr == (
        f"failed: {tmp_path}/out/a.png: already exists and is not an earlier result of udl_tf:"
        " choose another output, or allow it to be replaced (--overwrite)\n"
    )
    assert (tmp_path / "out/a.png").read_text() == "mine"
    result = upscale(*command, "--overwrite")
    assert result.returncode == 0
    assert "1 of 1 images upscaled" in result.stdout
    assert ", 1 replaced, 0 failed" in result.stdout
    result = upscale(*command, "--no-overwrite")
    assert result.returncode == 1
    assert "out/a.png: already exists: choose another output (--output)" in result.stderr


def test_what_is_skipped_is_named_and_a_folder_that_cannot_be_listed_fails(
    upscale, tmp_path, monkeypatch
):
    Image.fromarray(noise_image(6, 8)).save(tmp_path / "a.png")
    Image.fromarray(noise_image(6, 8)).save(tmp_path / "a.gif")
    (tmp_path / "notes.txt").touch()
    (tmp_path / "locked").mkdir()

    lock_folder(monkeypatch, "locked")
    command = tmp_path, "--output", tmp_path / "out", "--uncertainty", "none"
    for more in ((), ("--skip-existing",)):  # also if no model is loaded
        result = upscale(*command, *more)
        assert result.returncode == 1
        lines = result.stdout.splitlines()
        assert lines[-4:-1] == [
            "results of .gif images are .png (1 of 2 images)",
            "names of results contain the image's suffix where images would share a result or map,"
            f" such as {tmp_path}/out/a.gif.png (1 of 2 images)",
            "skipped: 1 other file",
        ]
        assert result.stderr == (
            f"failed: {tmp_path}/locked: cannot be listed (Permission denied): check its"
            " permissions\n"
        )


@pytest.mark.parametrize("arguments", [[""], ["a.png", "--output", ""]])
def test_an_empty_path_is_not_the_working_folder(arguments, tmp_path):
    Image.fromarray(noise_image(6, 8)).save(tmp_path / "a.png")
    result = run_command("upscale", *arguments, cwd=tmp_path)
    assert_one_line_error(result, "is empty; expected a value")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def real_bomb() -> bytes:
    """A PNG of 12000x12000 black pixels in 18 kilobytes."""
    png = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", 12000, 12000, 1, 0, 0, 0, 0)
    for chunk in (b"IHDR" + header, b"IDAT" + zlib.compress(bytes(1501 * 12000)), b"IEND"):
        png += struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return png


@pytest.mark.slow
def test_two_hundred_good_and_bad_files(transparent_run, tmp_path):
    """All good ones are upscaled, each bad one is a line, and memory stays below 1.5 GB."""
    folder, bad = tmp_path / "in", []
    for index in range(200):
        name, kind = f"{index:03}", index % 10
        path = folder / f"d{index % 3}" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(noise_image(6 + kind, 8, index))
        image.save(path)
        if kind == 1:
            path.write_bytes(path.read_bytes()[:60])
        elif kind == 3:
            path.write_bytes(b"")
        elif kind == 5:
            path.write_bytes(declared_png(50000 + index, 50000))
        elif kind == 7:
            path.write_text("not an image")
        elif kind == 8:
            Image.fromarray(noise_image(4, 4)[:1, :1]).save(path)
        elif kind == 9:  # a JPEG with the wrong suffix is not an error
            image.save(path, format="JPEG", quality=100)
        if kind in (1, 3, 5, 7):
            bad.append(path)
    bad.append(folder / "bomb.png")  # Pillow by itself would decode it
    bad[-1].write_bytes(real_bomb())
    arguments = (folder, "--output", tmp_path / "out", "--uncertainty", "none")
    result = run_process("helpers.with_peak_memory", *arguments, "--model", transparent_run)
    assert result.returncode == 1, result.stderr[-2000:]
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("failed: ")]
    for path in bad:
        assert sum(str(path) in line for line in lines) == 1, path
    assert len(lines) == len(bad) == 81
    assert len(list((tmp_path / "out").rglob("*.png"))) == 120
    assert "120 of 201 images upscaled" in result.stdout
    assert int(re.search(r"peak (\d+) kB", result.stdout)[1]) < 1.5e6
    assert not list((tmp_path / "out").rglob("*.part*"))


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--background", "blanc"], "background 'blanc': expected the name of a colour"),
        (["--outscale", "0"], "--outscale 0: expected a number above 0"),
        (["--outscale", "x"], "--outscale x"),
        (["--size", "100"], "--size 100: expected WIDTHxHEIGHT"),
        (["--tile", "0"], "--tile 0: expected a positive number"),
        (["--memory", "-1"], "--memory -1.0"),
        (["--memory", "inf"], "--memory inf"),
        (["--max-megapixels", "inf"], "--max-megapixels inf"),
        (["--max-megapixels", "0"], "--max-megapixels 0.0"),
        (["--value-range", "1", "0"], "the smaller one first (--value-range)"),
        (
            ["--ensemble", "--uncertainty", "none"],
            "omit --uncertainty none, or use --self-ensemble",
        ),
    ],
)
def test_bad_options_are_one_line(upscale, tmp_path, arguments, part):
    Image.fromarray(noise_image(6, 8)).save(tmp_path / "a.png")
    result = upscale(tmp_path / "a.png", "--output", tmp_path / "out", *arguments)
    assert_one_line_error(result, part)
    assert not (tmp_path / "out").exists()


def test_missing_input_and_model_are_one_line(upscale, tmp_path):
    assert_one_line_error(upscale(tmp_path / "gone.png", "--output", tmp_path), "gone.png: no such")
    Image.fromarray(noise_image(6, 8)).save(tmp_path / "a.png")
    result = upscale(tmp_path / "a.png", "--output", tmp_path / "a.png")
    assert_one_line_error(result, "a.png: is a file; expected a folder")
    result = run_command(
        "upscale", tmp_path / "a.png", "--model", tmp_path, "--output", tmp_path / "out"
    )
    assert_one_line_error(result, "holds no trained model")
