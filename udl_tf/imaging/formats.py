"""Image formats by suffix: those that are read, and why others are not."""

from udl_tf.imaging.rgb_files import SUFFIXES

READABLE = (*SUFFIXES, ".gif")
"""Suffixes of the files in a folder that are read."""

_CONVERT = "not supported: convert it to png or tiff"
_UNREAD = {
    **dict.fromkeys((".heic", ".heif", ".avif", ".jxl", ".jp2", ".j2k"), _CONVERT),
    **dict.fromkeys((".exr", ".hdr", ".dcm", ".psd", ".svg", ".pdf", ".eps"), _CONVERT),
    **dict.fromkeys((".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"), _CONVERT),
    **dict.fromkeys((".mp4", ".mov", ".avi", ".mkv", ".webm"), "a video: extract its frames"),
}


def reason(suffix: str) -> str | None:
    """Returns why files with this suffix, in lower case, are not read; None: not known."""
    return _UNREAD.get(suffix)
