"""Degradations of patches and images: pure functions of their seeds, equal where they overlap."""

import keras
import numpy as np
import pytest
from helpers.images import noise_image

from udl_tf.config import DataConfig, parse_degradations
from udl_tf.data.degradations import ImageDegradations, PatchDegradations
from udl_tf.data.draws import CropDraws, cut_lr, draw_batch, draw_degradations
from udl_tf.data.pipeline import make_delivery
from udl_tf.data.resident import ResidentSet
from udl_tf.data.sources import cropped, degraded, folder_dataset
from udl_tf.data.store import ImageStore, read_pair
from udl_tf.imaging import degrade

CLEAN = DataConfig(hr_patch_size=16, batch_size=8)
DEGRADED = DataConfig.model_validate(
    {
        **CLEAN.model_dump(),
        "degradations": [
            {"kind": "blur", "probability": 0.5, "sigma": [0.3, 1.0], "anisotropic": True},
            {"kind": "noise", "probability": 0.5, "sigma": [0, 4], "grey": True},
            {"kind": "poisson", "probability": 0.3, "sigma": [1, 4]},
            {"kind": "webp", "probability": 0.3, "quality": [40, 90]},
            {
                "kind": "jpeg",
                "probability": 0.8,
                "quality": [30, 95],
                "subsampling": ["4:2:0", "4:2:2", "4:4:4"],
            },
        ],
    }
)


@pytest.fixture
def store(image_folder):
    return ImageStore(folder_dataset(image_folder, 2).sources, 2, memory_gb=1)


def patch_of(text, image, top, left, size, row=0):
    return PatchDegradations(parse_degradations(text), 0, 0, range(8))(image, top, left, size, row)


@pytest.mark.parametrize("text", ["jpeg:40", "blur:1.3", "blur:0.9+jpeg:40", "jpeg:40+blur:0.9"])
def test_a_patch_is_that_of_the_degraded_image(text):
    """To the bit at every phase of the 16x16 blocks of JPEG with 4:2:0, and at borders."""
    image = noise_image(70, 83)
    whole = ImageDegradations(parse_degradations(text))(image, "a.png")
    for top, left in [(0, 0), (54, 67), (0, 30), (16, 32), *((17 + i, 48 - i) for i in range(16))]:
        patch = patch_of(text, image, top, left, 16)
        assert np.array_equal(patch, whole[top : top + 16, left : left + 16]), (top, left)
    assert not np.array_equal(whole, image)


def test_operations_are_applied_in_their_order():
    """Noise after JPEG is noise; noise before JPEG is compressed."""
    image = np.full((32, 32, 3), 128, np.uint8)
    noisy = patch_of("jpeg:30+noise:8", image, 0, 0, 32)
    compressed = patch_of("noise:8+jpeg:30", image, 0, 0, 32)
    assert noisy.std() == pytest.approx(8, rel=0.1)
    assert compressed.std() < 5


def test_degradations_are_drawn_from_their_ranges():
    """For JPEG alone, of a quality 30..34: each of five round trips, and the clean patch."""
    operations = [{"kind": "jpeg", "probability": 0.7, "quality": [30, 34]}]
    config = DataConfig.model_validate({"hr_patch_size": 16, "degradations": operations})
    image = noise_image(32, 32)
    known = {degrade.jpeg(image, q).tobytes(): q for q in range(30, 35)} | {image.tobytes(): None}
    draws = PatchDegradations(config.degradations, 3, 0, range(1000))
    found = [known[draws(image, 0, 0, 32, row).tobytes()] for row in range(1000)]
    assert set(found) == {None, *range(30, 35)}
    # Of 1000 coins and of 700 choices: four standard deviations are 58 and 42.
    assert found.count(None) == pytest.approx(300, abs=58)
    assert found.count(34) == pytest.approx(140, abs=42)


def test_a_batch_is_a_pure_function_of_seed_and_update(store):
    first = [draw_batch(store, DEGRADED, 7, update)[0] for update in (0, 1, 2)]
    again = [draw_batch(store, DEGRADED, 7, update)[0] for update in (2, 0, 1)]
    assert all(np.array_equal(a, b) for a, b in zip(first, again[1:] + again[:1], strict=True))
    assert not np.array_equal(first[0], draw_batch(store, DEGRADED, 8, 0)[0])
    rows = draw_batch(store, DEGRADED, 7, 1, rows=range(3, 6))[0]
    assert np.array_equal(rows, first[1][3:6])


def test_crops_and_hr_patches_are_those_without_degradations(store):
    never = [o.model_copy(update={"probability": 0.0}) for o in DEGRADED.degradations]
    never = DEGRADED.model_copy(update={"degradations": never})
    for update in range(3):
        lr, hr = draw_batch(store, CLEAN, 7, update)
        same_lr, same_hr = draw_batch(store, never, 7, update)
        assert np.array_equal(lr, same_lr)
        assert np.array_equal(hr, same_hr)
        degraded_lr, same_hr = draw_batch(store, DEGRADED, 7, update)
        assert np.array_equal(hr, same_hr)
        assert (lr != degraded_lr).any(axis=(1, 2, 3)).mean() > 0.5


def test_patches_are_degraded_before_they_are_flipped(store):
    crops = CropDraws(store, DEGRADED, 7)(5)
    degrade_patch = draw_degradations(DEGRADED, 7, 5)
    turned = cut_lr(store, DEGRADED, crops, degrade_patch)
    upright = crops.copy()
    upright[:, 3:] = 0
    patches = cut_lr(store, DEGRADED, upright, degrade_patch)
    assert crops[:, 3:].any()
    for patch, result, (rows, columns, transpose) in zip(
        patches, turned, crops[:, 3:], strict=True
    ):
        patch = patch[:: -1 if rows else 1, :: -1 if columns else 1]
        assert np.array_equal(patch.transpose(1, 0, 2) if transpose else patch, result)


@pytest.mark.parametrize("mapped", [False, True])
def test_batches_of_a_resident_set_equal_those_of_the_host(store, mapped):
    hr_map = (lambda index: (store.pair(index)[1], 7.0, 0.5)) if mapped else None
    on_device = ResidentSet(store, DEGRADED, hr_map)
    assert on_device.lr is None
    delivery = make_delivery(store, DEGRADED, 3, 2, hr_map, resident=on_device)
    with delivery:
        places = [np.asarray(part) for part in next(iter(delivery.batches()))]
    batch = [keras.ops.convert_to_numpy(part) for part in on_device(*places)]
    expected = draw_batch(store, DEGRADED, 3, 2, hr_map)
    assert len(batch) == len(expected) == (5 if mapped else 2)
    for part, values in zip(batch, expected, strict=True):
        assert part.dtype == values.dtype
        assert np.array_equal(part, values)


def test_a_degraded_dataset_is_the_same_in_each_call(image_folder):
    """Noise depends on the image's name, not on its place in the set."""
    plain = folder_dataset(image_folder, 2)
    dataset = degraded(plain, "noise:5+jpeg:75")
    assert (plain.degrade, dataset.degrade) == (None, "noise:5 + jpeg:75")
    assert degraded(plain, None) is plain
    assert degraded(plain, parse_degradations("noise:5+jpeg:75")) == dataset
    pairs = [read_pair(source, 2) for source in dataset.sources]
    again = degraded(folder_dataset(image_folder, 2), "noise:5+jpeg:75").sources
    assert np.array_equal(read_pair(again[3], 2)[0], pairs[3][0])
    noise = [
        lr.astype(int) - read_pair(source, 2)[0]
        for (lr, _), source in zip(pairs, plain.sources, strict=True)
    ]
    assert min(part.std() for part in noise) > 2
    assert not np.array_equal(noise[0], noise[1])
    for (_, hr), source in zip(pairs, plain.sources, strict=True):
        assert np.array_equal(hr, read_pair(source, 2)[1])
    crop = cropped(dataset, 32).sources[3]  # 16 of 24x28 LR pixels
    assert np.array_equal(read_pair(crop, 2)[0], pairs[3][0][4:20, 6:22])
