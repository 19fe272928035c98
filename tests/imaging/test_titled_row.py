import numpy as np

from udl_tf.imaging.titled_row import titled_row


def test_images_of_different_sizes_stand_side_by_side_below_their_titles():
    images = {
        "SR": np.full((40, 100, 3), 10, np.uint8),
        "theta": np.full((60, 90, 3), 20, np.uint8),
        "a title wider than its image": np.array([[[200, 30, 30]]], np.uint8),
    }
    row = titled_row(images, 16)
    assert row.dtype == np.uint8
    assert row.shape[0] == 32 + 60
    assert row.shape[1] > 100 + 90 + 100
    assert np.array_equal(row[32:72, :100], images["SR"])
    assert np.array_equal(row[32:, 100:190], images["theta"])
    assert (row[72:, :100] == 255).all()
    assert (row == (200, 30, 30)).all(axis=-1).sum() == 1
    titles = row[:32]
    for left, right in ((0, 100), (100, 190), (190, row.shape[1])):
        assert (titles[:, left:right] < 100).any()
    assert (titles[:, [0, 100, 190]] == 255).all()
