"""DICOM as scenes, written and read back by pydicom."""

import numpy as np
import pydicom
import pytest
from helpers.scenes import enlarge
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG2MPML,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
    generate_uid,
)

from udl_tf.errors import UserError
from udl_tf.scenes import Window, dicom, open_scene
from udl_tf.scenes.marks import is_result

NOT_MEDICAL = "not a medical device: never use a result for diagnosis"


def dataset(array, **elements):
    """Returns a CT image, rows of 0.8 mm and columns of 0.6 mm apart."""
    result = Dataset()
    result.SOPClassUID = CTImageStorage
    result.SOPInstanceUID, result.SeriesInstanceUID = generate_uid(), "1.2.3"
    result.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    result.SeriesDescription = "chest"
    result.PixelSpacing = [0.8, 0.6]
    result.ImagePositionPatient = [-100, -50, 20]
    result.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]  # sagittal
    result.Rows, result.Columns = array.shape[:2] if array.ndim == 2 else array.shape[1:3]
    result.SamplesPerPixel, result.PhotometricInterpretation = 1, "MONOCHROME2"
    result.BitsAllocated = result.BitsStored = 8 * array.itemsize
    result.HighBit = result.BitsStored - 1
    result.PixelRepresentation = 1 if array.dtype.kind == "i" else 0
    result.PixelData = array.tobytes()
    result["PixelData"].VR = "OW" if array.itemsize > 1 else "OB"
    for name, value in elements.items():
        setattr(result, name, value)
    result.file_meta = FileMetaDataset()
    result.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return result


def save(path, one):
    one.save_as(path, enforce_file_format=True)
    return path


def slice_of(low=-1000, high=2000, dtype=np.int16, shape=(8, 10)):
    return np.random.default_rng(0).integers(low, high, shape).astype(dtype)


def doubled(array):
    return array.repeat(2, axis=-2).repeat(2, axis=-1)


def test_results_are_derived_images_in_the_same_place(tmp_path):
    array = slice_of()
    source = save(tmp_path / "a.dcm", dataset(array, LargestImagePixelValue=2000))
    with open_scene(source) as scene:
        assert (scene.planes, scene.height, scene.width, scene.channels) == (1, 8, 10, 1)
        assert (scene.dtype, scene.notes) == (np.int16, (NOT_MEDICAL,))
        part, valid = scene.read(Window(0, 2, 3, 4, 6))
        np.testing.assert_array_equal(part[..., 0], array[2:6, 3:9])
        assert valid.all()
    before = pydicom.dcmread(source)
    after = pydicom.dcmread(enlarge(source, tmp_path / "b.dcm", step=3))
    assert (is_result(tmp_path / "b.dcm"), is_result(source)) == (True, False)
    (tmp_path / "b.dcm").rename(tmp_path / "IM1")
    assert is_result(tmp_path / "IM1")
    np.testing.assert_array_equal(after.pixel_array, doubled(array))
    assert after.PixelSpacing == [0.4, 0.3]
    # The first centre moves by a quarter of 0.6 mm along rows (+y) and of 0.8 mm down (-z) back.
    assert after.ImagePositionPatient == [-100, -50.15, 20.2]
    assert after.ImageType == ["DERIVED", "SECONDARY", "AXIAL"]
    assert after.SOPInstanceUID == after.file_meta.MediaStorageSOPInstanceUID
    assert after.SOPInstanceUID != before.SOPInstanceUID
    assert after.SeriesInstanceUID != before.SeriesInstanceUID
    assert after.SourceImageSequence[0].ReferencedSOPInstanceUID == before.SOPInstanceUID
    assert after.SeriesDescription == "chest image x2"
    assert after.ImageComments == NOT_MEDICAL
    assert "LargestImagePixelValue" not in after


def test_slices_of_a_series_remain_one_series(tmp_path):
    names = ("a.dcm", "b.dcm")
    for name in names:
        save(tmp_path / name, dataset(slice_of()))
        enlarge(tmp_path / name, tmp_path / f"sr_{name}", theta=tmp_path / f"theta_{name}")
    series = [
        {pydicom.dcmread(tmp_path / f"{kind}_{name}").SeriesInstanceUID for name in names}
        for kind in ("sr", "theta")
    ]
    assert [len(uids) for uids in series] == [1, 1]
    assert series[0] != series[1]


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_values_are_hounsfield_units_and_stored_back(tmp_path, photometric):
    array = slice_of(0, 4000, np.uint16)
    array[0, :2] = 63536, 63590  # padding
    one = dataset(
        array,
        RescaleSlope=2,
        RescaleIntercept=-1024,
        PixelPaddingValue=63536,
        PixelPaddingRangeLimit=63600,
        PhotometricInterpretation=photometric,
    )
    source = save(tmp_path / "a.dcm", one)
    with open_scene(source) as scene:
        assert scene.dtype == np.float32
        part, valid = scene.read(Window(0, 0, 0, 8, 10))
    np.testing.assert_array_equal(valid[..., 0], array < 60000)
    np.testing.assert_array_equal(part[valid], array[array < 60000] * 2.0 - 1024)
    after = pydicom.dcmread(enlarge(source, tmp_path / "b.dcm"))
    array[0, 1] = 63536
    np.testing.assert_array_equal(after.pixel_array, doubled(array))
    assert (after.RescaleSlope, after.RescaleIntercept) == (2, -1024)
    assert after.PhotometricInterpretation == photometric


def written_in_part(source, target, nodata=None):
    """Writes the upper half of a result, valid, and returns the file."""
    ones = np.ones((8, 20, 1))
    with open_scene(source, nodata) as scene, scene.create(target, 2, None, flags=False) as result:
        result.write(Window(0, 0, 0, 8, 20), ones, ones > 0)
    return target


@pytest.mark.parametrize(
    ("elements", "nodata", "number"),
    [
        ({"PixelPaddingValue": 63536}, None, 63536),
        ({}, 65535, 65535),
        ({"PixelPaddingValue": 63536, "PixelPaddingRangeLimit": 63600}, 60000, 60000),
        ({"RescaleSlope": 2, "RescaleIntercept": -1024}, -1000, 12),
    ],
)
def test_what_is_not_written_is_nodata_and_declared(tmp_path, elements, nodata, number):
    array = slice_of(100, 4000, np.uint16)
    array[0, :2] = number, 63536
    source = save(tmp_path / "a.dcm", dataset(array, **elements))
    with open_scene(source, nodata) as scene:
        _, valid = scene.read(Window(0, 0, 0, 8, 10))
        assert scene.dtype == (np.float32 if "RescaleSlope" in elements else np.uint16)
    np.testing.assert_array_equal(valid[..., 0], array != number)
    after = pydicom.dcmread(written_in_part(source, tmp_path / "b.dcm", nodata))
    assert set(after.pixel_array[8:].ravel()) == {number}
    assert number not in after.pixel_array[:8]
    assert after.PixelPaddingValue == number
    with open_scene(tmp_path / "b.dcm") as scene:
        _, valid = scene.read(Window(0, 0, 0, 16, 20))
    assert valid[:8].all()
    assert not valid[8:].any()


@pytest.mark.parametrize(
    ("dtype", "kind", "stated", "number"),
    [
        (np.int16, "US", 63536, -2000),
        (np.uint16, "SS", -2000, 63536),
        (np.uint8, "US", 255, 255),
        (np.uint8, "SS", -2000, None),
        (np.int8, "US", 200, None),
    ],
)
def test_padding_of_the_other_sign_is_that_of_the_pixels(tmp_path, dtype, kind, stated, number):
    array = slice_of(0, 100, dtype)
    array[0, :2] = number or 0
    one = dataset(array)
    one.add_new("PixelPaddingValue", kind, stated)
    source = save(tmp_path / "a.dcm", one)
    with open_scene(source) as scene:
        assert scene.nodata == number
        _, valid = scene.read(Window(0, 0, 0, 8, 10))
    assert (~valid).sum() == (0 if number is None else 2)
    after = pydicom.dcmread(enlarge(source, tmp_path / "b.dcm"))
    assert after.get("PixelPaddingValue") == number
    np.testing.assert_array_equal(after.pixel_array, doubled(array))


def test_nodata_that_no_integer_stands_for_is_refused(tmp_path):
    one = dataset(slice_of(), RescaleSlope=2, RescaleIntercept=-1024)
    with pytest.raises(UserError, match=r"nodata 1; expected -1024 \+ 2 n with a whole number n"):
        open_scene(save(tmp_path / "a.dcm", one), nodata=1)
    frames = save(tmp_path / "b.dcm", enhanced(slice_of(0, 1000, np.uint16, (2, 8, 10))))
    with pytest.raises(UserError, match="nodata 6; expected a value that is one number in all"):
        open_scene(frames, nodata=6)
    with open_scene(frames, nodata=0) as scene:
        assert scene.dtype == np.float32


def test_12_signed_bits_are_extended(tmp_path):
    array = slice_of(-2048, 2047)
    one = dataset(array & 0x0FFF, BitsStored=12, HighBit=11, PixelRepresentation=1)
    with open_scene(save(tmp_path / "a.dcm", one)) as scene:
        part, _ = scene.read(Window(0, 0, 0, 8, 10))
    np.testing.assert_array_equal(part[..., 0], array)
    after = pydicom.dcmread(enlarge(tmp_path / "a.dcm", tmp_path / "b.dcm"))
    np.testing.assert_array_equal(after.pixel_array, doubled(array))
    assert (after.BitsStored, after.HighBit) == (16, 15)


def enhanced(array):
    """Returns frames with a place and a slope each."""
    one = dataset(array, SOPClassUID=EnhancedCTImageStorage, NumberOfFrames=len(array))
    del one.PixelSpacing, one.ImagePositionPatient, one.ImageOrientationPatient
    shared, measures, directions = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [0.8, 0.6]
    directions.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence = [measures]
    shared.PlaneOrientationSequence = [directions]
    frames = []
    for number in range(len(array)):
        frame, position, values, kind = Dataset(), Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [0, 0, 5 * number]
        values.RescaleSlope, values.RescaleIntercept = number + 1, 0
        kind.FrameType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
        frame.PlanePositionSequence = [position]
        frame.PixelValueTransformationSequence = [values]
        frame.CTImageFrameTypeSequence = [kind]
        frames.append(frame)
    one.SharedFunctionalGroupsSequence = [shared]
    one.PerFrameFunctionalGroupsSequence = frames
    return one


def test_frames_are_planes_with_places_and_slopes_of_their_own(tmp_path):
    array = slice_of(0, 1000, np.uint16, (3, 8, 10))
    source = save(tmp_path / "a.dcm", enhanced(array))
    with open_scene(source) as scene:
        assert scene.planes == 3
        part, _ = scene.read(Window(2, 0, 0, 8, 10))
        np.testing.assert_array_equal(part[..., 0], array[2] * 3.0)
    after = pydicom.dcmread(enlarge(source, tmp_path / "b.dcm", theta=tmp_path / "t.dcm"))
    np.testing.assert_array_equal(after.pixel_array, doubled(array))
    frames = after.PerFrameFunctionalGroupsSequence
    positions = [frame.PlanePositionSequence[0].ImagePositionPatient for frame in frames]
    assert positions == [[-0.15, -0.2, z] for z in (0, 5, 10)]
    shared = after.SharedFunctionalGroupsSequence[0]
    assert shared.PixelMeasuresSequence[0].PixelSpacing == [0.4, 0.3]
    assert frames[0].CTImageFrameTypeSequence[0].FrameType[:2] == ["DERIVED", "SECONDARY"]
    with open_scene(tmp_path / "t.dcm") as theta:
        np.testing.assert_allclose(theta.read(Window(2, 0, 0, 16, 20))[0], 0.5, rtol=1e-5)


def test_theta_is_integers_with_a_slope(tmp_path):
    source = save(tmp_path / "a.dcm", dataset(slice_of(), RescaleSlope=1, RescaleIntercept=-1024))
    values = np.linspace(0, 37, 320, dtype=np.float32).reshape(16, 20, 1)
    theta = np.where(values > 36, np.nan, values).astype(np.float32)
    with (
        open_scene(source) as scene,
        scene.create(tmp_path / "b.dcm", 2, tmp_path / "t.dcm", flags=True) as result,
    ):
        flags = np.isnan(theta[..., 0]).astype(np.uint8) * 2
        result.write(Window(0, 0, 0, 16, 20), values, ~np.isnan(theta), theta, flags)
    after = pydicom.dcmread(tmp_path / "t.dcm")
    assert after.pixel_array.dtype == np.uint16
    assert after.pixel_array[np.isfinite(theta[..., 0])].max() == 65534
    with open_scene(tmp_path / "t.dcm") as scene:
        read, valid = scene.read(Window(0, 0, 0, 16, 20))
    np.testing.assert_array_equal(valid, np.isfinite(theta))
    np.testing.assert_allclose(read, theta, atol=36 / 65534 / 2 + 1e-6)
    after = pydicom.dcmread(tmp_path / "b_flags.dcm")
    np.testing.assert_array_equal(after.pixel_array, flags)
    assert "RescaleSlope" not in after


def test_the_limit_of_theta_is_that_of_its_16_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(dicom, "_LONGEST", 16 * 20 * 2)
    source = save(tmp_path / "a.dcm", dataset(slice_of()))
    enlarge(source, tmp_path / "b.dcm", theta=tmp_path / "t.dcm")
    monkeypatch.setattr(dicom, "_LONGEST", 16 * 20 * 2 - 1)
    with pytest.raises(UserError, match="expected at most 4 GB"):
        enlarge(source, tmp_path / "b.dcm", theta=tmp_path / "t.dcm")


def test_colours_are_channels_without_theta(tmp_path):
    array = slice_of(0, 255, np.uint8, (1, 8, 10, 3))[0]
    one = dataset(array[..., 0], SamplesPerPixel=3, PlanarConfiguration=1)
    one.PhotometricInterpretation, one.NumberOfFrames = "RGB", 1
    one.PixelData = np.moveaxis(array, 2, 0).tobytes()
    source = save(tmp_path / "a.dcm", one)
    after = pydicom.dcmread(enlarge(source, tmp_path / "b.dcm", flags=True))
    expected = array.repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(after.pixel_array, expected)
    assert after.PlanarConfiguration == 0
    with pytest.raises(UserError, match="cannot hold theta of a colour image: write none"):
        enlarge(source, tmp_path / "b.dcm", theta=tmp_path / "t.dcm")
    with pytest.raises(UserError, match="cannot hold theta beside the image: give a file of its"):
        enlarge(source, tmp_path / "b.dcm", theta=tmp_path / "b.dcm")
    assert not (tmp_path / "t.dcm").exists()


def test_compressed_files_are_read_and_stored_uncompressed(tmp_path):
    one = dataset(slice_of())
    one.compress(RLELossless)
    source = save(tmp_path / "a.dcm", one)
    with open_scene(source) as scene:
        assert scene.notes == (NOT_MEDICAL, "the result is stored uncompressed")
    after = pydicom.dcmread(enlarge(source, tmp_path / "b.dcm"))
    assert after.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    np.testing.assert_array_equal(after.pixel_array, doubled(slice_of()))


def test_deflated_files_are_read(tmp_path):
    one = dataset(slice_of(0, 1000, np.uint16, (3, 8, 10)), NumberOfFrames=3)
    one.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    source = save(tmp_path / "a.dcm", one)
    with open_scene(source) as scene:
        assert scene.notes == (NOT_MEDICAL, "the result is stored uncompressed")
    after = pydicom.dcmread(enlarge(source, tmp_path / "b.dcm"))
    np.testing.assert_array_equal(after.pixel_array, doubled(one.pixel_array))


def test_floats_are_refused(tmp_path):
    """A result would store them as integers."""
    one = dataset(slice_of().astype(np.float32))
    one.add_new("FloatPixelData", "OF", one.PixelData)
    del one.PixelData, one.PixelRepresentation, one.BitsStored, one.HighBit
    with pytest.raises(UserError, match=r"a\.dcm: holds floats; expected integers: convert it"):
        open_scene(save(tmp_path / "a.dcm", one))


@pytest.mark.parametrize("image_type", [None, "ORIGINAL", ["ORIGINAL", "PRIMARY"]])
def test_image_types_of_fewer_values(tmp_path, image_type):
    source = save(tmp_path / "a.dcm", dataset(slice_of(), ImageType=image_type))
    after = pydicom.dcmread(enlarge(source, tmp_path / "b.dcm"))
    assert after.ImageType == ["DERIVED", "SECONDARY"]


def test_what_lies_in_pixels_is_dropped_and_noted(tmp_path):
    region = Dataset()
    region.PhysicalDeltaX = 0.1
    one = dataset(slice_of(), BurnedInAnnotation="YES", ShutterShape="RECTANGULAR")
    one.ShutterLeftVerticalEdge = 3
    one.SequenceOfUltrasoundRegions = [region]
    one.add_new(0x60000010, "US", 8)
    source = save(tmp_path / "a.dcm", one)
    with open_scene(source) as scene:
        assert scene.notes == (
            NOT_MEDICAL,
            "text is burned into the image, and upscaled with it",
            "overlays not carried over",
            "ultrasound regions not carried over",
            "display shutter not carried over",
        )
    after = pydicom.dcmread(enlarge(source, tmp_path / "b.dcm"))
    assert not {"ShutterLeftVerticalEdge", "SequenceOfUltrasoundRegions"} & set(after.dir())
    assert 0x60000010 not in after


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR with 1 samples; expected"),
        ({"BitsAllocated": 1}, "1 bits per number; expected 8, 16 or 32"),
        ({"TotalPixelMatrixColumns": 999}, "frames are tiles of a slide: convert it to OME-TIFF"),
        ({"Rows": None}, "a DICOM file without an image"),
        ({"Rows": 9}, r"a\.dcm: cannot be read"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(tmp_path, elements, message):
    one = dataset(slice_of(), **elements)
    if one.Rows is None:
        del one.Rows
    save(tmp_path / "a.dcm", one)
    with pytest.raises(UserError, match=message):
        open_scene(tmp_path / "a.dcm")


def test_transfer_syntaxes_that_cannot_be_decoded_are_refused_in_one_line(tmp_path):
    one = dataset(slice_of())
    one.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    with pytest.raises(UserError, match="the retired transfer syntax Explicit VR Big Endian"):
        open_scene(save(tmp_path / "a.dcm", one))
    one = dataset(slice_of())
    one.file_meta.TransferSyntaxUID = MPEG2MPML
    one.PixelData = encapsulate([bytes(8)])
    one["PixelData"].is_undefined_length = True
    with pytest.raises(UserError, match=r"decoded \(MPEG2 .*\): run pip install .pylibjpeg\[all\]"):
        open_scene(save(tmp_path / "a.dcm", one))
    one = dataset(slice_of())
    one.file_meta.TransferSyntaxUID = JPEG2000Lossless
    one.PixelData = encapsulate([b"damaged!"])
    one["PixelData"].is_undefined_length = True
    with pytest.raises(UserError, match=r"its pixels cannot be decoded \(Unable to decode"):
        open_scene(save(tmp_path / "a.dcm", one))
