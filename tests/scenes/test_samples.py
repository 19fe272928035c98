import numpy as np
import pytest

from udl_tf.scenes.samples import FLAGS, Samples


@pytest.mark.parametrize(
    ("dtype", "nodata", "value", "stored"),
    [
        ("uint8", None, 254.5, 255),
        ("uint8", None, -3.0, 0),
        ("uint8", 0, -3.0, 1),
        ("uint8", 255, 300.0, 254),
        ("uint8", 7, 7.4, 6),
        ("int16", -32768, -1e9, -32767),
        ("uint32", None, 4294967294.6, 4294967295),  # more digits than float32 has
        ("float32", 0, 0.0, np.nextafter(np.float32(0), np.float32(1))),
        ("float64", -9999, -9999.0, np.nextafter(-9999, 0)),
    ],
)
def test_values_are_rounded_and_never_stored_as_nodata(dtype, nodata, value, stored):
    samples = Samples(np.dtype(dtype), nodata)
    found = samples.store(np.array([[value]]))
    assert (found.dtype, found.item()) == (dtype, stored)
    assert samples.valid(found).all()


@pytest.mark.parametrize(("dtype", "nodata"), [("int16", -1), ("float32", -1), ("float32", None)])
def test_nan_is_stored_as_nodata(dtype, nodata):
    samples = Samples(np.dtype(dtype), nodata)
    stored = samples.store(np.array([[np.nan], [2.0]]))
    assert samples.valid(stored).ravel().tolist() == [False, True]
    np.testing.assert_equal(stored[0, 0], np.nan if nodata is None else -1)


def test_parts_of_large_arrays_are_stored_alike():
    values = np.arange(300.0)[:, None]
    np.testing.assert_array_equal(Samples(np.dtype(np.int16)).store(values), values)


def test_no_data_is_a_flag_of_its_own():
    assert FLAGS.store(np.array([[0.0], [1.0], [np.nan]])).ravel().tolist() == [0, 1, 2]
