"""Elements of DICOM files: what of them applies to a result."""

import copy
import datetime
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import format_number_as_ds

from udl_tf.imaging.metadata import MARK
from udl_tf.scenes.axes import Axes
from udl_tf.scenes.medical import NOT_MEDICAL
from udl_tf.scenes.result_files import Content

_RUN = str(uuid.uuid4())  # results of one series in one process are one series
_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
# Statistics, digests and nodata of the pixels, and places in pixels.
_OF_PIXELS = (
    *("SmallestImagePixelValue", "LargestImagePixelValue", "SmallestPixelValueInSeries"),
    *("LargestPixelValueInSeries", "PixelPaddingRangeLimit", "IconImageSequence"),
    *("DigitalSignaturesSequence", "MACParametersSequence", "SequenceOfUltrasoundRegions"),
    "PixelPaddingValue",
)
# How values are displayed, and what else they mean.
_OF_VALUES = (
    *("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTSequence"),
    *("ModalityLUTSequence", "RealWorldValueMappingSequence", "RescaleSlope", "RescaleIntercept"),
)
_IN_PIXELS = (range(0x00181600, 0x00181721), range(0x60000000, 0x61000000))
"""Tags of shutters, collimators and overlays, which lie in pixels."""


def element_of_frame(source: Dataset, frame: int, sequence: str, keyword: str) -> Any:
    """Returns an element of a frame: its own, shared by all frames, or of the file; else None."""
    for groups, item in (
        ("PerFrameFunctionalGroupsSequence", frame),
        ("SharedFunctionalGroupsSequence", 0),
    ):
        macros = source.get(groups) or []
        values = macros[item].get(sequence) if item < len(macros) else None
        if values and keyword in values[0]:
            return values[0].get(keyword)
    return source.get(keyword)


def rescale_of_frame(source: Dataset, frame: int) -> tuple[float, float]:
    """Returns (slope, intercept) of the stored numbers of a frame."""
    transformation = "PixelValueTransformationSequence"
    slope = element_of_frame(source, frame, transformation, "RescaleSlope")
    intercept = element_of_frame(source, frame, transformation, "RescaleIntercept")
    return float(1 if slope is None else slope), float(intercept or 0)


def notes_of(source: Dataset) -> Iterator[str]:
    """Yields what of a file is not carried over to a result."""
    if source.get("BurnedInAnnotation") == "YES":
        yield "text is burned into the image, and upscaled with it"
    if "ModalityLUTSequence" in source:
        yield "values are stored numbers: the modality LUT is not applied"
    if "DoseGridScaling" in source:
        yield "values are stored numbers: DoseGridScaling is not applied"
    if any(int(element.tag) in _IN_PIXELS[1] for element in source):
        yield "overlays not carried over"
    if "SequenceOfUltrasoundRegions" in source:
        yield "ultrasound regions not carried over"
    if "ShutterShape" in source:
        yield "display shutter not carried over"
    syntax = source.file_meta.TransferSyntaxUID
    if syntax.is_compressed or syntax.is_deflated:
        yield "the result is stored uncompressed"


def result_dataset(
    source: Dataset, axes: Axes, scale: int, content: Content, dtype: np.dtype
) -> Dataset:
    """Returns the elements of a result without pixels, under new UIDs.

    Args:
        source: elements of the source, without pixels.
        axes: of the result.
        scale: whole number of result pixels per pixel.
        content: of the result.
        dtype: of the stored numbers.
    """
    result = copy.deepcopy(source)
    _remove(result, content)
    _set_pixels(result, axes, content, dtype)
    _set_places(result, source, scale)
    _set_origin(result, source, scale, content)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = result.SOPClassUID
    meta.MediaStorageSOPInstanceUID = result.SOPInstanceUID
    result.file_meta = meta
    return result


def _remove(result: Dataset, content: Content) -> None:
    names = (*_OF_PIXELS, *(() if content is Content.IMAGE else _OF_VALUES))
    for element in list(result):
        in_pixels = any(int(element.tag) in tags for tags in _IN_PIXELS)
        if in_pixels or element.keyword in names:
            del result[element.tag]
    if content is not Content.IMAGE:
        for item in _functional_groups(result):
            for sequence in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
                if sequence in item:
                    delattr(item, sequence)


def _set_pixels(result: Dataset, axes: Axes, content: Content, dtype: np.dtype) -> None:
    samples = axes.size("S")
    result.Rows, result.Columns, result.SamplesPerPixel = axes.height, axes.width, samples
    if samples > 1:
        result.PhotometricInterpretation, result.PlanarConfiguration = "RGB", 0
    else:
        if "PlanarConfiguration" in result:
            del result.PlanarConfiguration
        if content is not Content.IMAGE:
            result.PhotometricInterpretation = "MONOCHROME2"
    result.BitsAllocated = result.BitsStored = 8 * dtype.itemsize
    result.HighBit = result.BitsStored - 1
    result.PixelRepresentation = 1 if dtype.kind == "i" else 0


def _set_places(result: Dataset, source: Dataset, scale: int) -> None:
    """Divides pixel spacings; moves positions, which are those of the first pixel's centre."""
    per_frame = result.get("PerFrameFunctionalGroupsSequence") or []
    places = [
        (0, result),
        *((0, item) for item in result.get("SharedFunctionalGroupsSequence", [])),
    ]
    for frame, item in [*places, *enumerate(per_frame)]:
        for position in (item, *item.get("PlanePositionSequence", [])):
            if "ImagePositionPatient" in position:
                moved = _moved(position.ImagePositionPatient, source, frame, scale)
                position.ImagePositionPatient = moved
    for item in (result, *_functional_groups(result)):
        for holder in (item, *item.get("PixelMeasuresSequence", [])):
            for keyword in _SPACINGS:
                if holder.get(keyword):
                    finer = [decimal(float(one) / scale) for one in holder.get(keyword)]
                    setattr(holder, keyword, finer)


def _moved(position: Any, source: Dataset, frame: int, scale: int) -> list[float]:
    """Returns the centre of a result's first pixel, whose corner is that of the source's."""
    spacing = element_of_frame(source, frame, "PixelMeasuresSequence", "PixelSpacing")
    directions = element_of_frame(
        source, frame, "PlaneOrientationSequence", "ImageOrientationPatient"
    )
    if not spacing or not directions:
        return position
    along_row, along_column = np.reshape(np.array(directions, float), (2, 3))
    between_rows, between_columns = (float(one) for one in spacing)
    step = along_row * between_columns + along_column * between_rows
    moved = np.array(position, float) + step * (1 / scale - 1) / 2
    return [decimal(one) for one in moved]


def _set_origin(result: Dataset, source: Dataset, scale: int, content: Content) -> None:
    """Sets what identifies the result, and says how it was derived."""
    result.SOPInstanceUID = generate_uid()
    entropy = [str(source.get("SeriesInstanceUID", "")), content.name, str(scale), _RUN]
    result.SeriesInstanceUID = generate_uid(entropy_srcs=entropy)
    result.ImageType = _derived(source.get("ImageType"))
    for item in _functional_groups(result):
        for element in list(item):
            if element.VR == "SQ" and element.value and "FrameType" in element.value[0]:
                frame_type = element.value[0].FrameType
                element.value[0].FrameType = _derived(frame_type)
    now = datetime.datetime.now()
    result.InstanceCreationDate, result.InstanceCreationTime = (
        now.strftime("%Y%m%d"),
        now.strftime("%H%M%S"),
    )
    what = f"{content.value} of super-resolution x{scale}, {MARK.decode()}"
    description = f"{source.get('SeriesDescription', '')} {content.value} x{scale}".strip()
    result.SeriesDescription = description[-64:]
    result.DerivationDescription = f"{what}; {NOT_MEDICAL}"
    result.ImageComments = NOT_MEDICAL
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.SOPClassUID
    reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
    result.SourceImageSequence = [reference]


def _derived(image_type: Any) -> list[str]:
    """Returns an image type, which is a string if it has a single value, as that of a result."""
    others = [] if isinstance(image_type, str) else list(image_type or ())[2:]
    return ["DERIVED", "SECONDARY", *others]


def _functional_groups(dataset: Dataset) -> list[Dataset]:
    return [
        item
        for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
        for item in dataset.get(groups) or []
    ]


def decimal(value: float) -> float:
    """Rounds a number to what DICOM stores: decimals of at most 16 characters."""
    return float(format_number_as_ds(float(value)))
