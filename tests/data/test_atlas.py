import numpy as np
from helpers.images import noise_image

from udl_tf.data.atlas import fill_atlas, plan_layout

SIZES = [(5, 9), (8, 4), (3, 3), (7, 5), (8, 9)]  # height and width in LR pixels


def test_images_share_shelves_and_do_not_overlap():
    """Shelves: 8x9; 8x4 and 7x5; 5x9; 3x3."""
    layout = plan_layout(SIZES)
    assert (layout.height, layout.width) == (8 + 8 + 5 + 3, 9)
    taken = np.zeros((layout.height, layout.width), int)
    for (height, width), top, left in zip(SIZES, layout.tops, layout.lefts, strict=True):
        taken[top : top + height, left : left + width] += 1
    assert taken.max() == 1
    assert taken.sum() == sum(height * width for height, width in SIZES)


def test_an_atlas_contains_every_image_at_its_place():
    layout = plan_layout(SIZES)
    images = [noise_image(2 * height, 2 * width, i) for i, (height, width) in enumerate(SIZES)]
    atlas = fill_atlas(layout, images.__getitem__, 2)
    for image, top, left in zip(images, 2 * layout.tops, 2 * layout.lefts, strict=True):
        height, width, _ = image.shape
        assert np.array_equal(atlas[top : top + height, left : left + width], image)
