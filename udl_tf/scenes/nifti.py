"""NIfTI files (.nii, .nii.gz): volumes, whose slices are upscaled."""

import gzip
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.nifti1 import Nifti1Header, Nifti1Image
from nibabel.nifti2 import Nifti2Image

from udl_tf._support.files import complete_file
from udl_tf.errors import UserError
from udl_tf.imaging.metadata import MARK
from udl_tf.scenes.array_scene import ArrayScene, readable
from udl_tf.scenes.axes import Axes
from udl_tf.scenes.medical import NOT_MEDICAL
from udl_tf.scenes.raw_array import RawArray
from udl_tf.scenes.rescaled import VALUES, Rescaled, stored_samples
from udl_tf.scenes.result_files import Content, ResultFile
from udl_tf.scenes.samples import Samples

_NAMES = ("C", "T", "Z", "Y", "X")  # the last changes fastest: NIfTI's dim[1]
_INTENTS = {Content.THETA: ("estimate", "theta"), Content.FLAGS: ("label", "flags")}


def open_file(path: Path, nodata: float | None) -> "NiftiScene":
    """Opens a NIfTI file as a scene.

    Raises:
        UserError: if it is damaged, or of an unsupported shape.
    """
    return NiftiScene(path, nodata)


class NiftiScene(ArrayScene):
    """A NIfTI file, of which slices of a volume, and its times, are planes.

    Args:
        path: of the file.
        nodata: value of voxels without data; None: only NaN.
    """

    def __init__(self, path: Path, nodata: float | None):
        with ExitStack() as stack:
            with readable(path):
                image: Any = nibabel.load(path)
                _check(path, image)
                self._header, shape = image.header, image.shape[::-1]
                stored = _decompressed(path, stack) if _is_compressed(path) else path
                proxy, dtype = image.dataobj, np.dtype(image.get_data_dtype())
                self._slope, self._intercept = float(proxy.slope), float(proxy.inter)
            array: Any = RawArray(stored, dtype, shape, proxy.offset)
            samples = self._stored = Samples(dtype.newbyteorder("="), nodata)
            if self._is_rescaled:
                rescale = self._slope, self._intercept
                self._stored = stored_samples(path, samples.dtype, *rescale, nodata)
                array, samples = Rescaled(array, *rescale, self._stored), VALUES
            axes = Axes(_NAMES[-len(shape) :], shape)
            super().__init__(path, array, axes, samples, (NOT_MEDICAL,), stack.pop_all())

    @property
    def _is_rescaled(self) -> bool:
        return (self._slope, self._intercept) != (1, 0)

    @contextmanager
    def _create_file(self, path: Path, scale: int, content: Content) -> Iterator[ResultFile]:
        channels, source = content.channels(self.channels), self._axes
        if channels > 1 and "C" not in source.names:
            source = Axes(_NAMES, tuple(source.size(name) for name in _NAMES))
        axes, samples = source.result(scale, channels), content.samples(self._samples)
        is_rescaled = content is Content.IMAGE and self._is_rescaled
        stored = self._stored if is_rescaled else samples
        header = self._result_header(axes, scale, content, stored.dtype)
        with complete_file(path) as temporary, ExitStack() as stack:
            volume = temporary
            if _is_compressed(path):
                volume = _temporary_folder(path.parent, stack) / "volume"
            with open(volume, "wb") as file:
                header.write_to(file)
            offset = int(header["vox_offset"])
            array: Any = RawArray(volume, stored.dtype, axes.sizes, offset)
            array.fill(stored.fill)
            if is_rescaled:
                array = Rescaled(array, self._slope, self._intercept, stored)
            yield ResultFile(array, axes, samples)
            if volume != temporary:
                with open(volume, "rb") as file, gzip.open(temporary, "wb") as compressed:
                    shutil.copyfileobj(file, compressed)

    def _result_header(
        self, axes: Axes, scale: int, content: Content, dtype: np.dtype
    ) -> Nifti1Header:
        """Returns the header of a result, which stays in place: its corners are the source's."""
        header = self._header.as_byteswapped("<")
        forms = header.get_qform(coded=True), header.get_sform(coded=True)
        header.set_data_shape(axes.sizes[::-1])
        header["pixdim"][1:3] /= scale
        (qform, qcode), (sform, scode) = forms
        if qcode:
            header.set_qform(_finer(qform, scale), int(qcode))
        if scode:
            header.set_sform(_finer(sform, scale), int(scode))
        header.set_data_dtype(dtype)
        header["vox_offset"] = 0  # set by write_to
        header["descrip"] = f"{MARK.decode()} x{scale}; {NOT_MEDICAL}"[:79]
        if content is Content.IMAGE:
            header.set_slope_inter(self._slope, self._intercept)
        else:
            header.set_slope_inter(1, 0)
            header["cal_min"] = header["cal_max"] = 0
            if content in _INTENTS:
                code, name = _INTENTS[content]
                header.set_intent(code, (), name)
        return header


def _check(path: Path, image: Any) -> None:
    if not isinstance(image, Nifti1Image | Nifti2Image):
        raise UserError(f"{path}: expected NIfTI in a single file: convert it")
    if not 2 <= len(image.shape) <= len(_NAMES):
        raise UserError(f"{path}: has {len(image.shape)} axes; expected 2 to 5: split it")


def _finer(affine: np.ndarray, scale: int) -> np.ndarray:
    """Returns an affine of voxels `scale` times as small in their plane.

    An affine gives the centre of a voxel. With scale 2, the centres of the first voxels are a
    quarter of a voxel of the source before its first centre, so that the corner stays.
    """
    fine = affine.copy()
    fine[:, :2] /= scale
    fine[:, 3] += affine[:, :2].sum(axis=1) * (1 / scale - 1) / 2
    return fine


def _is_compressed(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def _decompressed(path: Path, resources: ExitStack) -> Path:
    """Returns a temporary file with the content of a compressed one, to read any part of."""
    volume = _temporary_folder(None, resources) / "volume"
    with gzip.open(path, "rb") as source, open(volume, "wb") as target:
        shutil.copyfileobj(source, target)
    return volume


def _temporary_folder(parent: Path | None, resources: ExitStack) -> Path:
    folder = tempfile.TemporaryDirectory(prefix=".", suffix=".part", dir=parent)
    return Path(resources.enter_context(folder))
