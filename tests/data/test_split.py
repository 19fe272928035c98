from collections import Counter
from pathlib import Path

import pytest
from helpers.images import noise_image

from udl_tf.config import DataConfig
from udl_tf.data.image_source import ImageSource
from udl_tf.data.sources import bundled_dataset, folder_dataset
from udl_tf.data.split import Split, keep_split, large_enough, split_validation
from udl_tf.errors import UserError
from udl_tf.imaging.rgb_files import write_rgb


def test_held_out_images():
    sources = [ImageSource(hr=i) for i in range(50)]
    training, held_out = split_validation(sources, sources, 10, seed=3)
    assert (len(training), len(held_out)) == (40, 10)
    assert not set(training) & set(held_out)
    assert split_validation(sources, sources, 10, seed=3) == (training, held_out)
    assert split_validation(sources, sources, 10, seed=4) != (training, held_out)
    assert len(split_validation(sources, sources[:8], 10, seed=0)[1]) == 1
    assert split_validation(sources, sources[:1], 10, seed=0) == (sources[:1], sources[:1])

    # If a held-out image is too small, the next one in the drawn order replaces it.
    large = [source for source in sources if source is not held_out[0]]
    fewer, others = split_validation(sources, large, 9, seed=3)
    assert others == held_out[1:]
    assert fewer == training


def test_small_images_are_an_error_or_skipped(image_folder):
    write_rgb(image_folder / "tiny.png", noise_image(5, 5))
    sources = folder_dataset(image_folder, 2).sources
    with pytest.raises(UserError, match=r"tiny\.png: 5x5 pixels, smaller than data\.hr_patch_size"):
        large_enough(sources, DataConfig(hr_patch_size=48))
    skip = DataConfig(hr_patch_size=48, small_images="skip")
    assert len(large_enough(sources, skip)) == 6
    with pytest.raises(UserError, match="no training image"):
        large_enough(sources, DataConfig(hr_patch_size=64, small_images="skip"))


def stacks(**planes):
    return [ImageSource(Path(n), plane=i, planes=p) for n, p in planes.items() for i in range(p)]


def test_files_of_several_planes_are_held_out_as_a_whole():
    sources = stacks(**{f"{index}": 8 for index in range(15)})
    training, held_out = split_validation(sources, sources, 7, seed=1)
    held = {source.hr for source in held_out}
    assert len(held) == 3  # a fifth of the files
    assert not held & {source.hr for source in training}
    assert len(training) == 12 * 8
    # Two of each, at 1/12 and 7/12, 3/12 and 9/12, 5/12 and 11/12 of eight planes.
    assert [source.plane for source in held_out] == [0, 4, 2, 6, 3, 7]

    split = Split.of(training, held_out, None)
    assert len(split.training) == 12
    added = [*sources, *stacks(new=2)]
    assert keep_split(added, split, 7) == ([*training, *added[-2:]], held_out)
    assert split.changes(sources) == ""

    one = stacks(a=9)
    training, held_out = split_validation(one, one, 3, seed=1)
    assert training == one  # of a single file, planes are both trained on and held out
    assert [source.plane for source in held_out] == [1, 4, 7]
    assert keep_split(one, Split.of(training, held_out, None), 3) == (training, held_out)


def test_every_held_out_file_validates():
    sources = stacks(a=1, b=30, c=2)
    counts = Counter(source.hr.name for source in split_validation(sources, sources, 1, 0)[1])
    assert list(counts.values()) == [1]
    split = Split(training=["a"], held_out=["b", "c"])
    assert [s.hr.name for s in keep_split(sources, split, 1)[1]] == ["b", "c"]
    assert [s.hr.name for s in keep_split(sources, split, 9)[1]] == ["b"] * 4 + ["c"] * 2


def named(*names):
    return [ImageSource(Path(name)) for name in names]


def test_a_run_that_resumes_keeps_its_held_out_images():
    split = Split(training=["a", "b", "c"], held_out=["d", "e"])
    assert keep_split(named("a", "b", "c", "d", "e"), split, 10) == (
        named("a", "b", "c"),
        named("d", "e"),
    )
    assert split.changes(named("a", "b", "c", "d", "e")) == ""
    # An added image is trained on; a held-out image that was removed is not replaced.
    assert keep_split(named("0", "a", "c", "e"), split, 10) == (named("0", "a", "c"), named("e"))
    assert split.changes(named("0", "a", "c", "e")) == (
        "images changed since the run began: 1 added, 2 removed"
    )
    with pytest.raises(UserError, match="all held-out images of the run were removed, such as d"):
        keep_split(named("a", "b", "c"), split, 10)
    with pytest.raises(UserError, match="all images to train on of the run were removed"):
        keep_split(named("d", "e"), split, 10)


def test_a_single_image_stays_in_both_parts():
    split = Split(training=["a"], held_out=["a"])
    assert keep_split(named("a", "b"), split, 10) == (named("a", "b"), named("a"))


def test_bundled_images_have_the_same_name_in_every_installation():
    names = [source.name for source in bundled_dataset("train").sources]
    assert all(name.startswith("bundled/train/") for name in names)
    assert len(set(names)) == len(names)
