"""DICOM files: single images and multi-frame ones, whose frames are upscaled."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, ExplicitVRBigEndian

from udl_tf._support.files import complete_file, temporary_path
from udl_tf.errors import UserError
from udl_tf.imaging.library_warnings import collected_warnings
from udl_tf.scenes.array_scene import ArrayScene, readable
from udl_tf.scenes.axes import Axes
from udl_tf.scenes.dicom_tags import decimal, notes_of, rescale_of_frame, result_dataset
from udl_tf.scenes.medical import NOT_MEDICAL
from udl_tf.scenes.raw_array import RawArray
from udl_tf.scenes.rescaled import VALUES, Rescaled, stored_samples
from udl_tf.scenes.result_files import Content, ResultFile
from udl_tf.scenes.samples import FLAGS, THETA, Samples

_AXES = ("Z", "Y", "X", "S")
_LONGEST = 2**32 - 2  # bytes of pixels in a file
_THETA = Samples(np.dtype(np.uint16), nodata=65535)  # theta is stored with a slope


def open_file(path: Path, nodata: float | None) -> "DicomScene":
    """Opens a DICOM file as a scene.

    Raises:
        UserError: if it is damaged, has no pixels, or pixels that are not supported.
    """
    return DicomScene(path, nodata)


class DicomScene(ArrayScene):
    """A DICOM file, of which frames are planes; values are those after rescaling.

    Args:
        path: of the file.
        nodata: value of pixels without data; None: as PixelPaddingValue declares.
    """

    def __init__(self, path: Path, nodata: float | None):
        with readable(path):
            self._dataset = dcmread(path, stop_before_pixels=True)
            _check(path, self._dataset)
            frames = int(self._dataset.get("NumberOfFrames") or 1)
            sizes = (self._dataset.Rows, self._dataset.Columns, self._dataset.SamplesPerPixel)
            axes = Axes(_AXES, (frames, *sizes))
            self._rescales = [rescale_of_frame(self._dataset, frame) for frame in range(frames)]
            array = _Frames(path, self._dataset, axes, is_padded=nodata is None)
            dtype = array[0, :1, :1, :].dtype
            if dtype.kind == "f":
                raise UserError(f"{path}: holds floats; expected integers: convert it to NIfTI")
            self._stored = self._stored_samples(path, dtype, nodata)
        samples = VALUES if self._is_rescaled else self._stored
        notes = (NOT_MEDICAL, *notes_of(self._dataset))
        super().__init__(path, self._rescaled(array), axes, samples, notes)

    @property
    def _is_rescaled(self) -> bool:
        return set(self._rescales) != {(1.0, 0.0)}

    def _stored_samples(self, path: Path, dtype: np.dtype, nodata: float | None) -> Samples:
        """Returns how numbers are stored; `nodata` is a value, and replaces PixelPaddingValue."""
        if nodata is None:
            return Samples(dtype, _padding_number(self._dataset, "PixelPaddingValue"))
        if not self._is_rescaled:
            return Samples(dtype, nodata)
        first, *others = {
            stored_samples(path, dtype, *rescale, nodata) for rescale in set(self._rescales)
        }
        if others:
            raise UserError(
                f"{path}: nodata {nodata:g}; expected a value that is one number in all frames,"
                " whose slopes differ",
                argument="nodata",
            )
        return first

    def _rescaled(self, stored: Any) -> Any:
        """Returns an array of values, given that of the stored numbers."""
        if not self._is_rescaled:
            return stored
        return _Planes([Rescaled(stored, *rescale, self._stored) for rescale in self._rescales])

    @contextmanager
    def _create_file(self, path: Path, scale: int, content: Content) -> Iterator[ResultFile]:
        if content is Content.BOTH or (content is Content.THETA and self.channels > 1):
            raise UserError(
                f"{path}: a DICOM file cannot hold theta {_WHY[content]}", argument="uncertainty"
            )
        axes = self._axes.result(scale, content.channels(self.channels))
        stored = {Content.IMAGE: self._stored, Content.THETA: _THETA}.get(content, FLAGS)
        size = int(np.prod(axes.sizes)) * stored.dtype.itemsize
        if size > _LONGEST:
            raise UserError(
                f"{path}: a result of {size / 1e9:.1f} GB; expected at most 4 GB, which a DICOM"
                " file can hold: upscale fewer frames"
            )
        with complete_file(path) as temporary, ExitStack() as stack:
            raw = _raw_array(path, axes, THETA if content is Content.THETA else stored, stack)
            array = self._rescaled(raw) if content is Content.IMAGE else raw
            yield ResultFile(array, axes, content.samples(self._samples))
            elements = _padding(stored) if content is not Content.FLAGS else Dataset()
            if content is Content.THETA:
                raw, elements.RescaleSlope = _with_slope(raw, path, axes, stack)
                elements.RescaleIntercept = 0
            dataset = result_dataset(self._dataset, axes, scale, content, raw.dtype)
            dataset.update(elements)
            _save(dataset, raw, temporary)


_WHY = {
    Content.BOTH: "beside the image: give a file of its own",
    Content.THETA: "of a colour image: write none",
}


class _Frames:
    """Stored numbers of the frames of a file, of which the last one read is kept.

    Args:
        path: of the file.
        dataset: its elements.
        axes: of the array.
        is_padded: whether to return all numbers in the range of padding as PixelPaddingValue.
    """

    def __init__(self, path: Path, dataset: Dataset, axes: Axes, is_padded: bool):
        self._path, self._axes = path, axes
        # No part of a deflated file can be read by itself.
        self._source = dcmread(path) if dataset.file_meta.TransferSyntaxUID.is_deflated else path
        value = _padding_number(dataset, "PixelPaddingValue") if is_padded else None
        self._padding = value, _padding_number(dataset, "PixelPaddingRangeLimit")
        self._last: tuple[int, np.ndarray] | None = None

    def __getitem__(self, index) -> np.ndarray:
        last = self._last
        if last is None or last[0] != index[0]:
            last = self._last = index[0], self._decoded(index[0])
        return last[1][index[1:]]

    def _decoded(self, frame: int) -> np.ndarray:
        try:
            pixels = pixel_array(self._source, index=frame).reshape(self._axes.sizes[1:])
        except RuntimeError as error:  # what pydicom raises if no decoder succeeds
            raise _not_decoded(self._path, " ".join(str(error).split())) from error
        value, limit = self._padding
        if value is not None and limit is not None:
            low, high = sorted((value, limit))
            pixels = np.where((low <= pixels) & (pixels <= high), pixels.dtype.type(value), pixels)
        return pixels


class _Planes:
    """An array of which each element along the first axis belongs to another array."""

    def __init__(self, arrays: list[Any]):
        self._arrays = arrays

    def __getitem__(self, index) -> np.ndarray:
        return self._arrays[index[0]][index]

    def __setitem__(self, index, values: np.ndarray) -> None:
        self._arrays[index[0]][index] = values


def _check(path: Path, dataset: Dataset) -> None:
    """Refuses what is no image, or of a kind that is not supported."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax == ExplicitVRBigEndian:
        raise UserError(f"{path}: of the retired transfer syntax {syntax.name}: convert it")
    if "Rows" not in dataset:
        raise UserError(f"{path}: a DICOM file without an image: give the files of images")
    kind = dataset.PhotometricInterpretation
    if kind == "PALETTE COLOR" or dataset.SamplesPerPixel not in (1, 3):
        raise UserError(
            f"{path}: PhotometricInterpretation {kind} with {dataset.SamplesPerPixel} samples;"
            " expected MONOCHROME1, MONOCHROME2 or a colour: convert it"
        )
    if dataset.BitsAllocated not in (8, 16, 32):
        raise UserError(
            f"{path}: {dataset.BitsAllocated} bits per number; expected 8, 16 or 32: convert it"
        )
    if "TotalPixelMatrixColumns" in dataset:
        raise UserError(f"{path}: frames are tiles of a slide: convert it to OME-TIFF")
    if syntax.is_compressed and not _has_decoder(syntax):
        raise _not_decoded(path, f"{syntax.name}: no installed package decodes it")


def _padding_number(dataset: Dataset, keyword: str) -> int | None:
    """Returns a stored number that means padding; None: none, or one that no pixel can be.

    Its 16 bits have the sign of the pixels, although some programs state the other.
    """
    number = dataset.get(keyword)
    if number is None:
        return None
    kind = "i" if dataset.get("PixelRepresentation") else "u"
    limits = np.iinfo(f"{kind}{dataset.BitsAllocated // 8}")
    number = int(np.array(number & 0xFFFF, np.uint16).view(f"{kind}2"))
    return number if limits.min <= number <= limits.max else None


def _has_decoder(syntax: UID) -> bool:
    try:
        return get_decoder(syntax).is_available
    except NotImplementedError:  # of videos, for example
        return False


def _not_decoded(path: Path, reason: str) -> UserError:
    return UserError(
        f"{path}: its pixels cannot be decoded ({reason}): run pip install"
        ' "pylibjpeg[all]" pyjpegls, or decompress the file first'
    )


def _raw_array(path: Path, axes: Axes, samples: Samples, stack: ExitStack) -> RawArray:
    """Creates an array in a file beside the result, which is removed at the end."""
    file = temporary_path(path)
    stack.callback(file.unlink, missing_ok=True)
    file.touch()
    array = RawArray(file, samples.dtype, axes.sizes)
    array.fill(samples.fill)
    return array


def _padding(stored: Samples) -> Dataset:
    """Returns the element that declares nodata, if its 16 bits can."""
    elements = Dataset()
    kind, dtype = ("SS", np.int16) if stored.dtype.kind == "i" else ("US", np.uint16)
    limits = np.iinfo(dtype)
    if stored.nodata is not None and limits.min <= stored.nodata <= limits.max:
        elements.add_new("PixelPaddingValue", kind, int(stored.nodata))
    return elements


def _with_slope(
    theta: RawArray, path: Path, axes: Axes, stack: ExitStack
) -> tuple[RawArray, float]:
    """Returns theta as integers, and their slope: images hold no floats.

    Its largest value becomes the largest integer but one, which means nodata.
    """
    largest = 0.0
    for frame in range(axes.planes):
        values = theta[frame]
        largest = max(largest, values.max(where=np.isfinite(values), initial=0.0))
    slope = decimal(largest / (_THETA.fill - 1) or 1.0)
    numbers = _raw_array(path, axes, _THETA, stack)
    stored = Rescaled(numbers, slope, 0.0, _THETA)
    for frame in range(axes.planes):
        stored[frame] = theta[frame]
    return numbers, slope


def _save(dataset: Dataset, pixels: RawArray, path: Path) -> None:
    """Writes a file with the pixels of another file, without reading them into memory."""
    if os.path.getsize(pixels.path) % 2:
        with open(pixels.path, "ab") as file:
            file.write(b"\0")
    with open(pixels.path, "rb") as file:
        dataset.add_new("PixelData", "OB" if pixels.dtype.itemsize == 1 else "OW", file)
        with collected_warnings():  # of what the source holds too
            dataset.save_as(path, enforce_file_format=True)
