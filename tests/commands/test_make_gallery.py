"""The gallery: its crops and figures are those that the tool makes."""

import numpy as np
import pytest
from helpers.commands import ROOT
from helpers.upscalers import Repeating
from make_gallery import CLEAN, CROPS, PHOTO, QUALITIES, SIDE, clean_row, photo_row

from udl_tf.data import bundled_dataset
from udl_tf.imaging import read_rgb

GALLERY = ROOT / "docs/gallery"


def check_crops(subject, row, names, folder):
    """Requires crops by column; those that need no network must equal the published ones."""
    for column, name in names.items():
        file = f"{subject}_{name}.webp"
        assert row[column].endswith(f"]({folder.name}/{file})")
        pixels = read_rgb(folder / file)
        assert pixels.shape == (SIDE, SIDE, 3)
        if column in ("bicubic", "HR"):
            np.testing.assert_array_equal(pixels, read_rgb(GALLERY / file))


@pytest.mark.parametrize("subject", CROPS)
def test_rows_compare_results_with_bicubic_interpolation(subject, tmp_path):
    (image,) = (s.hr for s in bundled_dataset("test").sources if s.hr.stem == subject)
    published = (GALLERY.parent / "gallery.md").read_text()
    row = clean_row(image, "repeated", Repeating(4), tmp_path)
    title = row["preset, PSNR-Y of the image"]
    assert title.startswith("repeated: ")
    assert title.split(" dB ")[1] in published  # (bicubic 25.41)
    names = {"bicubic": "bicubic_x4", "result": "repeated", "HR": "hr", "θ": "repeated_theta"}
    check_crops(subject, row, names, tmp_path)
    for quality in QUALITIES:
        row = photo_row(image, {"repeated": Repeating(4)}, quality, tmp_path)
        title = row["PSNR-Y of the image, dB"]
        assert title.split(", repeated")[0] in published  # camera, JPEG of quality 75: bicubic 24.9
        names = {name: f"jpeg{quality}_{name}" for name in ("bicubic", "repeated")} | {
            "HR": "hr",
            "θ": f"jpeg{quality}_theta",
        }
        check_crops(subject, row, names, tmp_path)


def test_the_gallery_names_its_files_and_no_others():
    published = (GALLERY.parent / "gallery.md").read_text()
    files = {file.name for file in GALLERY.iterdir()}
    assert {name for name in files if f"(gallery/{name})" in published} == files
    rows = len(CROPS) * len(CLEAN), len(CROPS) * len(QUALITIES)
    assert published.count("(gallery/") == rows[0] * 4 + rows[1] * (3 + len(PHOTO))
    assert sum(file.stat().st_size for file in GALLERY.iterdir()) < 1.5e6
