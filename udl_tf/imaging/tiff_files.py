"""TIFF files: tifffile decodes them, and their tags decide what the samples mean."""

import io
import logging
import math
import struct
from typing import BinaryIO

import imagecodecs
import numpy as np
import tifffile
from PIL import Image
from tifffile import EXTRASAMPLE, PHOTOMETRIC, SAMPLEFORMAT, TiffPage

from udl_tf.imaging import formats
from udl_tf.imaging.coded_files import Jpeg2000File, JpegXlFile
from udl_tf.imaging.decoded import Decoded, Unsupported, read_exif
from udl_tf.imaging.pillow_files import PillowFile
from udl_tf.imaging.samples import to_full_range
from udl_tf.imaging.tiff_colors import alpha_applied, cmyk_to_rgb, lab_to_rgb

_LAB = {PHOTOMETRIC.CIELAB, PHOTOMETRIC.ICCLAB}
_COLORS: dict[int, int] = {  # channels of a colour, by PhotometricInterpretation
    PHOTOMETRIC.MINISWHITE: 1,
    PHOTOMETRIC.MINISBLACK: 1,
    PHOTOMETRIC.RGB: 3,
    PHOTOMETRIC.PALETTE: 1,
    PHOTOMETRIC.SEPARATED: 4,
    PHOTOMETRIC.YCBCR: 3,
    PHOTOMETRIC.CIELAB: 3,
    PHOTOMETRIC.ICCLAB: 3,
}
# Compressions whose streams hold the colours of their own format: decoders return RGB.
_RETURNS_RGB = {6, 7, 33005, 34712, 34892, 50001, 50002, 52546}
# Compressions whose streams declare a size of their own; decoders trust it.
_DECLARES_SIZE = {7, 34892, 34712, 33003, 33004, 33005, 34887, 50001, 50002, 52546}


class _LercStream:
    """A stream of LERC, of which only the declared size is read."""

    def __init__(self, file: BinaryIO):
        head = file.read(22)
        (version,) = struct.unpack_from("<i", head, 6)
        self.height, self.width = struct.unpack_from("<2i", head, 10 if version < 3 else 14)


_STREAMS = (
    (b"\xff\xd8", PillowFile),  # JPEG
    (b"RIFF", PillowFile),  # WebP
    (b"\xff\x0a", JpegXlFile),
    (b"\0\0\0\x0cJXL ", JpegXlFile),
    (b"\xff\x4f", Jpeg2000File),
    (b"\0\0\0\x0cjP  ", Jpeg2000File),
    (b"Lerc2 ", _LercStream),
)
_ORIENTATION, _MAX_SAMPLE_VALUE, _INK_SET, _EXTRA_SAMPLES, _DNG_VERSION = 274, 281, 332, 338, 50706
_REDUCED, _MASK = 1, 4  # bits of NewSubfileType
_MEASURED = ", or use a model of measurements (docs/science.md)"

# Otherwise tifffile prints warnings of damaged tags.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


class TiffFile:
    """A TIFF file: its first page of full resolution."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._tiff = tifffile.TiffFile(file)
        self._page = _main_page(self._tiff)
        self.width, self.height = self._page.imagewidth, self._page.imagelength
        self._check_colors()
        self._check_samples()

    def decode(self) -> Decoded:
        page, notes = self._page, _page_notes(self._tiff)
        exif = self._exif(notes)
        if page.photometric == PHOTOMETRIC.YCBCR and page.compression not in _RETURNS_RGB:
            samples = self._decoded_by_libtiff()
        else:
            self._check_segments()
            samples = page.asarray()
        if page.axes == "SYX":
            samples = np.moveaxis(samples, 0, -1)
        samples = samples.reshape(self.height, self.width, -1)
        colors, alpha = self._split(samples, notes)
        pixels, icc_profile = self._to_pixels(colors, notes)
        return Decoded(alpha_applied(pixels, *alpha), icc_profile, exif, notes=tuple(notes))

    def _check_colors(self) -> None:
        """Refuses colours that are not supported."""
        page, kind, bits = self._page, self._page.photometric, self._page.bitspersample
        if _DNG_VERSION in page.tags:
            raise Unsupported(formats.unsupported("camera raw"))
        if kind not in _COLORS:
            raise _refused(f"PhotometricInterpretation {_name(kind)}")
        colors = _COLORS[kind]
        if not colors <= page.samplesperpixel <= colors + (1 if colors == 1 else 4):
            raise _refused(f"SamplesPerPixel {page.samplesperpixel} in {_name(kind)}", _MEASURED)
        if kind == PHOTOMETRIC.SEPARATED and page.tags.valueof(_INK_SET, 1) != 1:
            raise _refused(f"InkSet {page.tags.valueof(_INK_SET)} (inks other than CMYK)")
        if kind == PHOTOMETRIC.YCBCR and (bits, page.samplesperpixel) != (8, 3):
            raise _refused(f"BitsPerSample {bits} in {page.samplesperpixel} channels of YCbCr")
        if page.sampleformat == SAMPLEFORMAT.IEEEFP and (
            kind not in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.RGB)
            or any(np.atleast_1d(page.tags.valueof(_EXTRA_SAMPLES, 0)))
        ):
            raise _refused(f"SampleFormat 3 (float) in {_name(kind)} or with alpha", _MEASURED)

    def _check_samples(self) -> None:
        """Refuses samples that are not supported, and tiles much larger than the image."""
        page, bits, kind = self._page, self._page.bitspersample, self._page.sampleformat
        supported = {SAMPLEFORMAT.UINT, SAMPLEFORMAT.VOID, SAMPLEFORMAT.IEEEFP}
        if page.photometric in _LAB:
            supported.add(SAMPLEFORMAT.INT)  # some programs say so of a and b
        if kind not in supported:
            raise _refused(f"SampleFormat {_name(kind)}", _MEASURED)
        most = 64 if kind == SAMPLEFORMAT.IEEEFP else 16
        if page.dtype is None or not isinstance(bits, int) or bits > most:
            raise _refused(f"BitsPerSample {bits} and SampleFormat {_name(kind)}", _MEASURED)
        if page.imagedepth != 1:
            raise _refused(f"ImageDepth {page.imagedepth}")
        most = max(4 * self.width * self.height, 2**24)
        if page.tile is not None and math.prod(page.tile) > most:
            raise _refused(f"TileWidth {page.tilewidth} and TileLength {page.tilelength}")

    def _check_segments(self) -> None:
        """Refuses missing and cut strips and tiles, and streams larger than the page declares.

        Raises:
            ValueError: as for other damage.
        """
        page, size = self._page, self._tiff.filehandle.size
        segments = list(zip(page.dataoffsets, page.databytecounts, strict=False))
        if len(segments) != math.prod(page.chunked):
            raise ValueError(f"{len(segments)} of {math.prod(page.chunked)} strips or tiles")
        if not all(0 < offset < offset + count <= size for offset, count in segments):
            raise ValueError("a strip or tile is missing or cut off")
        if page.compression in _DECLARES_SIZE:
            expected = math.prod(page.chunks)
            for offset, count in segments:
                self._file.seek(offset)
                _check_stream(self._file.read(count), expected)

    def _exif(self, notes: list[str]) -> Image.Exif:
        """Returns the tags of the page, among them orientation, as EXIF."""
        exif = read_exif(self._load_exif)
        exif[_ORIENTATION] = self._page.tags.valueof(_ORIENTATION, 1)
        return exif

    def _load_exif(self) -> Image.Exif:
        exif = Image.Exif()
        exif.bigtiff, exif.endian = self._tiff.is_bigtiff, self._tiff.byteorder
        exif.load_from_fp(self._file, self._page.offset)
        return exif

    def _decoded_by_libtiff(self) -> np.ndarray:
        """Decodes YCbCr, whose subsampled chroma tifffile does not support, to RGB."""
        self._file.seek(0)
        data = bytearray(self._file.read())
        orientation = self._page.tags.get(_ORIENTATION)
        if orientation is not None:  # libtiff would apply a part of it
            struct.pack_into(f"{self._tiff.byteorder}H", data, orientation.valueoffset, 1)
        return imagecodecs.tiff_decode(bytes(data), index=self._page.index, asrgb=True)[..., :3]

    def _split(
        self, samples: np.ndarray, notes: list[str]
    ) -> tuple[np.ndarray, tuple[np.ndarray | None, bool]]:
        """Separates colours and alpha; ExtraSamples states which sample is alpha.

        Returns:
            (colours (h, w, c), (alpha (h, w) or None, whether colours are premultiplied by it)).
        """
        colors = _COLORS[self._page.photometric]
        extra = samples.shape[2] - colors
        kinds = [*np.atleast_1d(self._page.tags.valueof(_EXTRA_SAMPLES, ())), *[0] * extra][:extra]
        alpha = next((index for index, kind in enumerate(kinds) if kind in (1, 2)), None)
        dropped = extra - (alpha is not None)
        if dropped:
            plural = "" if dropped == 1 else "s"
            notes.append(f"{dropped} channel{plural} skipped: not alpha by ExtraSamples")
        if alpha is None:
            return samples[..., :colors], (None, False)
        values = self._scaled(samples[..., colors + alpha])
        return samples[..., :colors], (values, kinds[alpha] == EXTRASAMPLE.ASSOCALPHA)

    def _scaled(self, samples: np.ndarray) -> np.ndarray:
        """Scales samples to the full range of uint8 or uint16; floats stay as they are."""
        if samples.dtype.kind == "f":
            return samples.astype(np.float32)
        return to_full_range(samples, self._maximum(samples))

    def _maximum(self, samples: np.ndarray) -> int:
        """Returns white: by BitsPerSample, or by MaxSampleValue if that is of fewer bits.

        MaxSampleValue may be a mere statistic. It counts if it is 2^n - 1 of 9 to 15 bits in
        samples of 16 bits, and no sample exceeds it: cameras of 10 to 14 bits write it.
        """
        full = 2**self._page.bitspersample - 1
        stated = np.max(self._page.tags.valueof(_MAX_SAMPLE_VALUE, full))
        stated = int(stated) if isinstance(stated, np.integer) else full
        meaningful = 255 < stated < full and stated & (stated + 1) == 0
        return stated if meaningful and samples.max() <= stated else full

    def _to_pixels(self, colors: np.ndarray, notes: list[str]) -> tuple[np.ndarray, bytes | None]:
        """Converts colour samples (h, w, c) to grey (h, w) or RGB.

        Returns:
            (pixels, their colour profile or None).
        """
        kind, icc_profile = self._page.photometric, self._page.iccprofile
        if kind == PHOTOMETRIC.PALETTE:
            return _from_palette(colors[..., 0], self._page.colormap), icc_profile
        if kind in _LAB:
            notes.append("LAB converted to RGB")
            return lab_to_rgb(colors, is_signed=kind == PHOTOMETRIC.CIELAB)
        pixels = self._scaled(colors)
        if kind == PHOTOMETRIC.SEPARATED:
            notes.append("CMYK converted to RGB")
            return cmyk_to_rgb(pixels, icc_profile)
        if kind == PHOTOMETRIC.MINISWHITE:
            pixels = np.iinfo(pixels.dtype).max - pixels
        return (pixels[..., 0] if pixels.shape[2] == 1 else pixels), icc_profile


def _main_page(tiff: tifffile.TiffFile) -> TiffPage:
    """Returns the first page of full resolution."""
    if not len(tiff.pages):
        raise ValueError("no page")
    for page in tiff.pages:
        if isinstance(page, TiffPage) and not page.subfiletype & (_REDUCED | _MASK):
            return page
    raise _refused("no page of full resolution (NewSubfileType)")


def _page_notes(tiff: tifffile.TiffFile) -> list[str]:
    """Returns notes on further pages, except those of reduced resolution."""
    notes, kinds = [], [page.subfiletype for page in tiff.pages if isinstance(page, TiffPage)]
    full = sum(not kind & (_REDUCED | _MASK) for kind in kinds)
    if full > 1:
        notes.append(f"only the first of {full} frames or pages read")
    if any(kind & _MASK for kind in kinds):
        notes.append("transparency mask skipped: it is a separate page")
    return notes


def _check_stream(data: bytes, expected: int) -> None:
    """Refuses a compressed strip or tile that declares more pixels than the page."""
    decoder = next((kind for start, kind in _STREAMS if data.startswith(start)), None)
    if decoder is None:
        return
    stream = decoder(io.BytesIO(data))
    if stream.width * stream.height > 4 * expected + 2**16:
        raise ValueError(f"a strip or tile declares {stream.width}x{stream.height} pixels")


def _from_palette(indices: np.ndarray, colormap: np.ndarray | None) -> np.ndarray:
    """Returns uint8 RGB; a ColorMap has 16 bits, but some programs write 8."""
    if colormap is None:
        raise _refused("PhotometricInterpretation PALETTE without ColorMap")
    table = colormap if colormap.max() < 256 else colormap >> 8
    table = table.T.astype(np.uint8)
    return table[np.minimum(indices, len(table) - 1)]


def _name(value: object) -> str:
    return getattr(value, "name", None) or str(value)


def _refused(what: str, otherwise: str = "") -> Unsupported:
    fix = f"convert it to RGB or grey first{otherwise}"
    return Unsupported(f"TIFF with {what} is not supported: {fix}")
