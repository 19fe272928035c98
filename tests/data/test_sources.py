import numpy as np
import pytest
from helpers.images import make_pairs, noise_image

from udl_tf.config import DataConfig
from udl_tf.data.image_source import ImageSource
from udl_tf.data.sources import find_datasets, folder_dataset, folder_datasets
from udl_tf.data.store import ImageStore, read_pair
from udl_tf.errors import UserError
from udl_tf.imaging.resize import imresize
from udl_tf.imaging.rgb_files import write_rgb


def test_hr_images_are_cropped_to_multiples_of_the_scale(tmp_path):
    image = noise_image(26, 41)
    write_rgb(tmp_path / "image.png", image)
    lr, hr = read_pair(ImageSource(tmp_path / "image.png"), 3)
    assert np.array_equal(hr, image[:24, :39])
    assert np.array_equal(lr, imresize(image[:24, :39], 1 / 3))


def test_a_crop_is_the_central_square_of_the_whole_pair(tmp_path):
    write_rgb(tmp_path / "image.png", noise_image(31, 50))
    lr, hr = read_pair(ImageSource(tmp_path / "image.png"), 3)  # 10x16 and 30x48
    source = ImageSource(tmp_path / "image.png", crop=19)  # 6 LR pixels
    assert source.size == (19, 19)
    lr_crop, hr_crop = read_pair(source, 3)
    assert np.array_equal(lr_crop, lr[2:8, 5:11])
    assert np.array_equal(hr_crop, hr[6:24, 15:33])
    larger = ImageSource(tmp_path / "image.png", crop=40)  # 13 LR pixels
    assert larger.size == (31, 40)
    assert np.array_equal(read_pair(larger, 3)[0], lr[:, 1:14])


def test_missing_lr_images_are_computed_by_imresize_and_cached(image_folder, tmp_path):
    dataset = folder_dataset(image_folder, 4)
    assert dataset.name == "images"
    assert len(dataset.sources) == 6
    cache = tmp_path / "cache"
    lr, hr = read_pair(dataset.sources[0], 4, cache)
    assert np.array_equal(lr, imresize(hr, 1 / 4))
    (cached,) = cache.iterdir()
    write_rgb(cached, np.zeros_like(lr))  # shows that the second read uses the cached file
    assert not read_pair(dataset.sources[0], 4, cache)[0].any()
    write_rgb(dataset.sources[0].hr, 255 - hr)  # a changed image has no cached LR image
    assert np.array_equal(read_pair(dataset.sources[0], 4, cache)[0], imresize(255 - hr, 1 / 4))


@pytest.mark.parametrize(
    ("lr_folder", "suffix"), [("LR_bicubic/X{scale}", "x{scale}"), ("LR/X{scale}", ""), ("LR", "")]
)
def test_paired_layouts(tmp_path, lr_folder, suffix):
    dataset = folder_dataset(make_pairs(tmp_path / "set", 3, lr_folder, suffix), 3)
    lr, hr = read_pair(dataset.sources[2], 3)
    assert (lr.shape, hr.shape) == ((8, 12, 3), (24, 36, 3))
    assert dataset.sources[2].lr is not None


def test_div2k_layout(tmp_path):
    hr = noise_image(24, 36)
    write_rgb(tmp_path / "DIV2K/DIV2K_train_HR/0001.png", hr)
    lr_file = tmp_path / "DIV2K/DIV2K_train_LR_bicubic/X2/0001x2.png"
    write_rgb(lr_file, imresize(hr, 1 / 2))
    (dataset,) = find_datasets(DataConfig(root=str(tmp_path)), "train", 2)
    assert dataset.name == "DIV2K"
    assert dataset.sources == (ImageSource(tmp_path / "DIV2K/DIV2K_train_HR/0001.png", lr_file),)


def test_sources_with_and_without_a_root(image_folder):
    (bundled,) = find_datasets(DataConfig(), "train", 2)
    assert bundled.name == "bundled"
    assert len(bundled.sources) >= 8
    (test,) = find_datasets(DataConfig(), "test", 2)
    assert len(test.sources) >= 3
    assert not {s.hr.name for s in bundled.sources} & {s.hr.name for s in test.sources}
    (absolute,) = find_datasets(DataConfig(train=[str(image_folder), "bundled"]), "train", 2)
    assert absolute.name == "images"
    root = str(image_folder.parent)
    both = find_datasets(DataConfig(root=root, train=["images", "bundled"]), "train", 2)
    assert [d.name for d in both] == ["images"]
    with pytest.raises(UserError, match=r"DIV2K.*does not exist"):
        find_datasets(DataConfig(root=root), "train", 2)
    with pytest.raises(UserError, match=r"data\.root is not set"):
        find_datasets(DataConfig(train=["DIV2K"]), "train", 2)
    with pytest.raises(UserError, match=r"data\.test is empty: name at least one set"):
        find_datasets(DataConfig(root=root, test=[]), "test", 2)


def test_sets_of_equal_names_get_their_parents_name(tmp_path):
    for parent in ("a", "b"):
        write_rgb(tmp_path / parent / "HR/0.png", noise_image(24, 24))
    config = DataConfig(root=str(tmp_path), train=["a/HR", "b/HR"])
    assert [d.name for d in find_datasets(config, "train", 2)] == ["a_HR", "b_HR"]
    with pytest.raises(UserError, match="named twice"):
        find_datasets(DataConfig(root=str(tmp_path), train=["a/HR", "a/HR"]), "train", 2)
    (tmp_path / "c").symlink_to(tmp_path / "a")
    with pytest.raises(UserError, match=r"c/HR: the same folder as .*a/HR, named twice"):
        find_datasets(DataConfig(root=str(tmp_path), train=["a/HR", "c/HR"]), "train", 2)
    mixed = DataConfig(train=[str(tmp_path / "a/HR"), "DIV2K"])
    with pytest.raises(UserError, match=r"DIV2K and data\.root is not set"):
        find_datasets(mixed, "train", 2)


def test_equal_names_get_as_many_parents_as_make_them_differ(tmp_path, monkeypatch):
    """x/a/val and y/a/val were both a_val."""
    folders = [tmp_path / name for name in ("x/a/val", "y/a/val", "y/b/val", "x/test")]
    for folder in folders:
        write_rgb(folder / "0.png", noise_image(24, 24))
    names = ["x_a_val", "y_a_val", "b_val", "test"]
    assert [d.name for d in folder_datasets(folders, 2)] == names
    monkeypatch.chdir(folders[0])
    assert [d.name for d in folder_datasets([".", "../../../y/a/val"], 2)] == names[:2]


def test_the_working_folder_has_its_name(image_folder, monkeypatch):
    """Its name was empty."""
    link = image_folder.with_name("link")
    link.symlink_to(image_folder)
    monkeypatch.chdir(image_folder)
    for folder, name in ((".", "images"), ("../images", "images"), ("../link", "link")):
        assert folder_dataset(folder, 2).name == name


def test_the_lr_image_of_a_file_with_a_long_name_is_cached(tmp_path):
    source = ImageSource(tmp_path / f"{'n' * 240}.png")
    write_rgb(source.hr, noise_image(16, 16))
    first, _ = read_pair(source, 2, tmp_path / "cache")
    second, _ = read_pair(source, 2, tmp_path / "cache")
    assert np.array_equal(first, second)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_damaged_cached_lr_image_is_computed_again(image_folder, tmp_path):
    source = folder_dataset(image_folder, 2).sources[0]
    expected, _ = read_pair(source, 2, tmp_path / "cache")
    (cached,) = (tmp_path / "cache").iterdir()
    for damage in (lambda: cached.write_bytes(b"torn"), lambda: write_rgb(cached, expected[:-1])):
        damage()
        assert np.array_equal(read_pair(source, 2, tmp_path / "cache")[0], expected)
        assert np.array_equal(read_pair(source, 2, tmp_path / "cache")[0], expected)


def test_pairs_of_the_wrong_scale_and_missing_partners(tmp_path):
    folder = make_pairs(tmp_path / "set", 2, "LR", "")
    with pytest.raises(UserError, match=r"18x12.*x4 needs 9x6"):
        read_pair(folder_dataset(folder, 4).sources[0], 4)
    (folder / "LR/1.png").unlink()
    with pytest.raises(UserError, match=r"HR/1\.png: its LR file .*LR/1x2\.png is missing"):
        read_pair(folder_dataset(folder, 2).sources[1], 2)


@pytest.mark.parametrize(
    ("hr", "lr", "message"),
    [
        (["a.jpg", "a.png"], ["a.png"], r"a\.jpg and .*a\.png: both have the LR image .*LR/a\.png"),
        (["a.png", "ax2.png"], ["ax2.png"], r"a\.png and .*ax2\.png: both have the LR image .*ax2"),
        (["a.png"], ["a.bmp", "a.png"], r"a\.bmp and .*a\.png: LR images of the same name"),
    ],
)
def test_ambiguous_pairs_are_an_error_that_names_both(tmp_path, hr, lr, message):
    for folder, names in (("HR", hr), ("LR", lr)):
        (tmp_path / "set" / folder).mkdir(parents=True)
        for name in names:
            (tmp_path / "set" / folder / name).touch()
    with pytest.raises(UserError, match=message):
        folder_dataset(tmp_path / "set", 2)


def test_an_image_too_small_for_the_scale_is_one_line(tmp_path):
    write_rgb(tmp_path / "tiny.png", noise_image(7, 30))
    with pytest.raises(UserError, match=r"tiny\.png: 30x7 pixels; x4 needs at least 8 pixels per"):
        read_pair(ImageSource(tmp_path / "tiny.png"), 4)


def test_a_store_that_fits_in_memory_decodes_each_image_once(image_folder):
    sources = folder_dataset(image_folder, 2).sources
    store = ImageStore(sources, 2, memory_gb=1)
    store.load_all()
    for _ in range(3):
        for index in range(len(store)):
            store.pair(index)
    assert store.decoded == 6
    one_pair = (48 * 56 + 24 * 28) * 3
    small = ImageStore(sources, 2, memory_gb=2.5 * one_pair / 1e9)
    for index in range(6):  # not load_all, whose threads may finish in another order
        small.pair(index)
    for index in (0, 1, 0, 1, 0):
        lr, hr = small.pair(index)
        assert np.array_equal(imresize(hr, 0.5), lr)
    assert small.decoded == 8  # 0 and 1 are read again once, then both stay in memory
