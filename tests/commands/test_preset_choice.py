"""Presets that are chosen by the files, if no model is given."""

from pathlib import Path

import pytest
from helpers.images import noise_image
from PIL import Image

from udl_tf.commands.preset_choice import choose_presets
from udl_tf.hub import presets

NAMES = ["edsr_s_x3", "light_x2", "light_x4", "photo_x2", "photo_x4"]


@pytest.fixture
def images(tmp_path, monkeypatch):
    """PNG, two JPEG of visible compression, one of quality 98, lossy WebP."""
    monkeypatch.setattr(presets, "names", lambda: NAMES)
    image = Image.fromarray(noise_image(8, 8))
    for name, options in {
        "a.png": {},
        "b.jpg": {"quality": 60},
        "c.jpg": {"quality": 90},
        "d.jpg": {"quality": 98},
        "e.webp": {"quality": 70},
    }.items():
        image.save(tmp_path / name, **options)
    return sorted(tmp_path.iterdir())


@pytest.mark.parametrize(("outscale", "scale"), [(None, 4), (2, 2), (3, 4), (1.5, 2), (8, 4)])
def test_compressed_images_get_the_photo_preset(images, outscale, scale):
    files, lines = choose_presets(images, [], outscale)
    clean = {images[0], images[3]}
    photo = f"photo_x{scale}"
    others = {2: "light_x2", 4: "light_x4"}[scale] if outscale != 3 else "edsr_s_x3"
    assert files == {others: clean, photo: set(images) - clean}
    end = "(--model selects another preset)"
    kinds = "JPEG of quality 98 (above 92), others neither JPEG nor lossy WebP"
    assert lines == [
        f"{others} for 2 files: {kinds} {end}",
        f"{photo} for 3 files: JPEG of quality 60 to 90, lossy WebP {end}",
    ]


@pytest.mark.parametrize(
    ("qualities", "kinds"),
    [
        ([30], "JPEG of quality 30"),
        ([29], "JPEG of quality 29 (below 30, theta may be too small)"),
        ([10, 60], "JPEG of quality 10 to 60 (below 30, theta may be too small)"),
    ],
)
def test_a_jpeg_quality_below_that_of_the_training_is_noted(tmp_path, qualities, kinds):
    files = [tmp_path / f"{quality}.jpg" for quality in qualities]
    for file, quality in zip(files, qualities, strict=True):
        Image.fromarray(noise_image(8, 8)).save(file, quality=quality)
    _, (line,) = choose_presets(files, [], None)
    assert f": {kinds} (--model" in line


def test_scenes_are_taken_as_not_compressed(images):
    files, lines = choose_presets([], [Path("a.tif")], None)
    assert files == {"light_x4": {Path("a.tif")}}
    assert lines == [
        "light_x4 for 1 file: neither JPEG nor lossy WebP (--model selects another preset)"
    ]
