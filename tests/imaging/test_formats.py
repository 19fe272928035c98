import pytest

from udl_tf.imaging import formats
from udl_tf.imaging.formats import READABLE, WRITABLE, reason


def test_what_is_written_is_read():
    assert set(WRITABLE) < set(READABLE)
    assert {".gif", ".ppm", ".pgm", ".jp2", ".jxl", ".avif"} < set(READABLE)


@pytest.mark.parametrize(
    ("suffix", "expected"),
    [
        (".png", None),
        (".PNG", None),
        (".txt", None),
        ("", None),
        (".exr", "OpenEXR is not supported: convert it to TIFF, for example with oiiotool"),
        (
            ".NEF",
            "camera raw is not supported: develop it to 16-bit TIFF, for example with darktable",
        ),
    ],
)
def test_reason(suffix, expected):
    assert reason(suffix) == expected


def test_heic_is_read_or_its_extra_named():
    for suffix in (".heic", ".heif"):
        assert (suffix in READABLE) == formats.HAS_HEIF
        assert reason(suffix) == (None if formats.HAS_HEIF else formats.NEEDS_HEIF)


def test_every_unread_format_has_suffixes_and_a_remedy():
    assert set(formats._UNREAD) == set(formats.REMEDIES)
    assert not set(formats._KINDS) & set(READABLE)
