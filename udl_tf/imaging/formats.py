"""Image formats: recognition by content or suffix; which are read, and remedies for others."""

from importlib.util import find_spec

from udl_tf.imaging import png_chunks

_HEIF_SUFFIXES = (".heic", ".heif")
_SUFFIXES = (
    *(".png", ".bmp", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".gif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jxl", ".avif"),
)
HAS_HEIF = find_spec("pillow_heif") is not None
NEEDS_HEIF = 'HEIC needs pillow-heif: run pip install "udl_tf[heif]"'

READABLE = (*_SUFFIXES, *_HEIF_SUFFIXES) if HAS_HEIF else _SUFFIXES
"""Suffixes, in lower case, of the image files that are read."""

WRITABLE = (".png", ".bmp", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")
"""Suffixes of the formats that are written."""

_SCENES = {  # formats of measurements
    "DICOM": "export it as 16-bit PNG or TIFF, for example with DCMTK",
    "NIfTI": "export its slices as 16-bit PNG or TIFF, for example with NiBabel",
    "NumPy": "save it as PNG or TIFF, for example with tifffile",
    "OME-Zarr": "export its planes as TIFF, for example with tifffile",
}

REMEDIES = {
    **{kind: f"use it as a scene (docs/science.md), or {fix}" for kind, fix in _SCENES.items()},
    "OpenEXR": "convert it to TIFF, for example with oiiotool",
    "camera raw": "develop it to 16-bit TIFF, for example with darktable",
    "Radiance HDR": "convert it to TIFF, for example with oiiotool",
    "FITS": "convert it to TIFF or .npy, for example with Astropy",
    "JPEG XR": "convert it to PNG or TIFF",
    "DjVu": "convert it to PNG or TIFF, for example with ddjvu",
    "PDF": "render it to PNG, for example with pdftoppm",
    "PostScript": "render it to PNG, for example with Ghostscript",
    "SVG": "render it to PNG, for example with Inkscape",
    "video": "extract its frames as PNG, for example with ffmpeg",
}
"""What to do with formats that are known but not supported."""

_UNREAD = {
    "OpenEXR": ".exr",
    "DICOM": ".dcm .dicom",
    "NIfTI": ".nii",
    "NumPy": ".npy",
    "OME-Zarr": ".zarr",
    "camera raw": ".dng .cr2 .cr3 .nef .arw .orf .rw2 .raf .pef .srw",
    "Radiance HDR": ".hdr",
    "FITS": ".fits .fit",
    "JPEG XR": ".jxr .wdp",
    "DjVu": ".djvu",
    "PDF": ".pdf",
    "PostScript": ".eps .ps",
    "SVG": ".svg",
    "video": ".mp4 .m4v .mov .avi .mkv .webm",
}
_KINDS = {suffix: kind for kind, suffixes in _UNREAD.items() for suffix in suffixes.split()}

HEAD = 256
"""Bytes at the beginning of a file that `recognise` needs."""

_MAGIC = (  # offset, content, format; the first match counts
    (0, png_chunks.SIGNATURE, "PNG"),
    (8, b"CR\x02", "camera raw"),  # Canon's CR2, otherwise a TIFF
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),
    (0, b"MM\0+", "TIFF"),
    (0, b"P2", "PNM"),
    (0, b"P3", "PNM"),
    (0, b"P5", "PNM"),
    (0, b"P6", "PNM"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (128, b"DICM", "DICOM"),
    (4, b"n+2\0", "NIfTI"),
    (0, b"\x93NUMPY", "NumPy"),
    (0, b"FUJIFILMCCD-RAW", "camera raw"),
    (0, b"IIRO", "camera raw"),
    (0, b"IIU\0", "camera raw"),
    (0, b"II\xbc", "JPEG XR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"SIMPLE  =", "FITS"),
    (0, b"AT&TFORM", "DjVu"),
    (0, b"%PDF", "PDF"),
    (0, b"%!PS", "PostScript"),
    (0, b"\xc5\xd0\xd3\xc6", "PostScript"),
    (8, b"AVI ", "video"),
    (0, b"\x1a\x45\xdf\xa3", "video"),  # Matroska and WebM
)
_BRANDS = (  # of ISO media files; the first match counts
    ({b"avif", b"avis"}, "AVIF"),
    ({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1"}, "HEIC"),
    ({b"crx "}, "camera raw"),
)


def recognise(head: bytes) -> str | None:
    """Returns the format of a file by its first HEAD bytes; None: unknown, or left to Pillow."""
    if head[4:8] == b"ftyp":
        end = min(int.from_bytes(head[:4], "big"), len(head))
        brands = {head[8:12], *(head[place : place + 4] for place in range(16, end, 4))}
        return next((kind for known, kind in _BRANDS if brands & known), "video")
    for offset, magic, kind in _MAGIC:
        if head.startswith(magic, offset):
            return kind
    return "SVG" if b"<svg" in head else None


def reason(suffix: str) -> str | None:
    """Returns why files of a suffix are not read: a known format and what to do with it.

    Args:
        suffix: with the dot, in lower or upper case.

    Returns:
        One line without the name of a file; None for suffixes that are read, and for those of
        unknown formats.
    """
    suffix = suffix.lower()
    if suffix in READABLE:
        return None
    if suffix in _HEIF_SUFFIXES:
        return NEEDS_HEIF
    kind = _KINDS.get(suffix)
    return None if kind is None else unsupported(kind)


def unsupported(kind: str) -> str:
    """Returns that a format in REMEDIES is not supported, and what to do, in one line."""
    as_image = " as an image" if kind in _SCENES else ""
    return f"{kind} is not supported{as_image}: {REMEDIES[kind]}"
