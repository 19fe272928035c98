"""Packs: packed training sets and other uint8 arrays in one file, written item by item."""

import json

import numpy as np
import pytest
from helpers.commands import assert_one_line_error, run_command
from helpers.images import noise_image

from udl_tf.config import DataConfig
from udl_tf.data.__main__ import main
from udl_tf.data.draws import draw_batch
from udl_tf.data.pack import Pack, write_pack
from udl_tf.data.sources import folder_dataset
from udl_tf.data.split import large_enough
from udl_tf.data.store import ImageStore, read_pair
from udl_tf.errors import UserError
from udl_tf.imaging.rgb_files import write_rgb

CONFIG = DataConfig(hr_patch_size=16, batch_size=8)


def pack(folder, output, scale=2, read=read_pair):
    sources = folder_dataset(folder, scale).sources
    items = [(s.hr.name, lambda s=s: (read(s, scale), {})) for s in sources]
    return write_pack(output, {"scale": scale}, items)


def test_a_pack_yields_the_same_batches_as_its_images(image_folder, tmp_path):
    pack(image_folder, tmp_path / "pack")
    plain = ImageStore(folder_dataset(image_folder, 2).sources, 2, memory_gb=1)
    packed = ImageStore(folder_dataset(tmp_path / "pack", 2).sources, 2, memory_gb=1)
    for update in range(3):
        expected, result = (draw_batch(store, CONFIG, 0, update) for store in (plain, packed))
        assert all(np.array_equal(a, b) for a, b in zip(expected, result, strict=True))
    assert packed.decoded == 0
    assert [s.size for s in packed.sources] == [s.size for s in plain.sources]
    assert len(large_enough(packed.sources, CONFIG)) == len(plain)


def test_interrupted_packing_is_resumed(image_folder, tmp_path):
    whole = pack(image_folder, tmp_path / "whole")
    torn = tmp_path / "torn"
    torn.mkdir()
    facts, first, second, third, *_ = (
        (tmp_path / "whole/index.jsonl").read_text().splitlines(keepends=True)
    )
    # Interrupted in the data of the second item and in the index line of the third.
    content = (tmp_path / "whole/arrays.bin").read_bytes()
    (torn / "arrays.bin").write_bytes(content[: json.loads(second)["offset"] + 10])
    (torn / "index.jsonl").write_text(facts + first + second + third[:7])
    with pytest.raises(UserError, match="packing was interrupted: run the same command to resume"):
        folder_dataset(torn, 2)
    read = []
    pack(image_folder, torn, read=lambda s, scale: read.append(s.hr.name) or read_pair(s, scale))
    assert read == [entry["name"] for entry in whole.entries[1:]]
    assert (torn / "arrays.bin").read_bytes() == content
    assert Pack(torn).entries == whole.entries


def test_facts_empty_arrays_and_progress_across_an_interruption(tmp_path):
    arrays = [np.arange(12, dtype=np.uint8).reshape(3, 4), np.zeros((0, 2), np.uint8)]

    def fail():
        raise OSError("disk full")

    facts = {"unit": 0.5}
    with pytest.raises(OSError, match="disk full"):
        write_pack(tmp_path / "new/maps", facts, [("a", lambda: (arrays, {"low": 1})), ("b", fail)])
    reports = []
    result = write_pack(
        tmp_path / "new/maps",
        facts,
        [("a", fail), ("b", lambda: (arrays[::-1], {"low": 2}))],
        lambda done, total, label="": reports.append((done, total, label)),
    )
    assert reports == [(2, 2, "b")]
    assert result.facts["unit"] == 0.5
    assert [entry["facts"] for entry in result.entries] == [{"low": 1}, {"low": 2}]
    for index, expected in ((0, arrays), (1, arrays[::-1])):
        for array, other in zip(result.arrays(index), expected, strict=True):
            assert np.array_equal(array, other)
            assert not array.flags.writeable


def test_bad_packs_are_one_line(image_folder, tmp_path):
    folder = tmp_path / "pack"
    pack(image_folder, folder)
    with pytest.raises(UserError, match="packed for x2; expected x3: pack the images for x3 too"):
        folder_dataset(folder, 3)
    content = bytearray((folder / "arrays.bin").read_bytes())
    content[5] ^= 1
    (folder / "arrays.bin").write_bytes(content)
    with pytest.raises(UserError, match=r"image0\.png is damaged: pack again"):
        Pack(folder).check(0)
    result = run_command("data", "check", folder, "--scale", "2")
    assert "image0.png is damaged: pack again" in result.stdout
    (folder / "arrays.bin").write_bytes(content[:-1])
    with pytest.raises(UserError, match=r"arrays\.bin: \d+ of \d+ bytes, truncated: pack again"):
        Pack(folder)
    write_rgb(tmp_path / "other/a.png", noise_image(8, 8))
    with pytest.raises(UserError, match="holds a pack of other or changed images"):
        pack(tmp_path / "other", folder)
    with pytest.raises(UserError, match="is not empty and holds no pack"):
        pack(image_folder, tmp_path / "other")
    (folder / "arrays.bin").unlink()
    with pytest.raises(UserError, match=r"arrays\.bin: cannot be read"):
        Pack(folder)


def test_packing_again_repairs_a_damaged_pack(image_folder, tmp_path):
    folder = tmp_path / "pack"
    pack(image_folder, folder)
    file, read = folder / "arrays.bin", []
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    pack(image_folder, folder, read=lambda s, scale: read.append(s) or read_pair(s, scale))
    assert len(read) == 1  # the last one
    assert file.read_bytes() == content


@pytest.mark.parametrize(
    ("index", "part"),
    [
        ("", "damaged"),
        ("torn", "damaged"),
        ('{"format": 2}\n', "damaged .*count"),
        ('{"format": 2, "count": 1}\n{"name": "a"}\n', "damaged .*offset"),
        ('{"format": 2, "count": 1}\n{"name": "a", "offset": 0, "shapes": []}\n', ".*crc32"),
        ('{"format": 2, "count": 1}\nno JSON\n', "damaged"),
        ('{"format": 9, "count": 0}\n', "format 9; expected 2"),
    ],
)
def test_a_damaged_index_is_one_line(tmp_path, index, part):
    (tmp_path / "index.jsonl").write_text(index)
    with pytest.raises(
        UserError, match=rf"index\.jsonl: {part}.*: delete the folder and pack again"
    ):
        Pack(tmp_path)


def test_other_or_changed_images_of_the_same_names_are_refused(tmp_path):
    """The command reported success, but left the old images in the pack."""
    for folder in ("a/HR", "b/HR"):
        write_rgb(tmp_path / folder / "0.png", noise_image(8, 8))
    arguments = ["--output", str(tmp_path / "pack"), "--scale", "2"]
    main(["pack", str(tmp_path / "a/HR"), *arguments])
    main(["pack", str(tmp_path / "a/HR"), *arguments])
    packed = ["pack", str(tmp_path / "pack"), "--output", str(tmp_path / "again"), "--scale", "2"]
    main(packed)
    main(packed)
    with pytest.raises(UserError, match="choose a new folder, or delete this one"):
        main(["pack", str(tmp_path / "b/HR"), *arguments])
    write_rgb(tmp_path / "a/HR/0.png", noise_image(8, 16))
    with pytest.raises(UserError, match="choose a new folder, or delete this one"):
        main(["pack", str(tmp_path / "a/HR"), *arguments])


@pytest.mark.parametrize("facts", [{}, {"scale": 2}])
def test_a_pack_of_other_arrays_is_refused_as_a_training_set(tmp_path, facts):
    write_pack(tmp_path / "maps", facts, [("a", lambda: ([noise_image(8, 8)], {"low": 0.0}))])
    with pytest.raises(UserError, match="maps: not a pack of training images"):
        folder_dataset(tmp_path / "maps", 2)


def test_a_pack_of_version_0_1_is_refused(tmp_path):
    (tmp_path / "pairs.jsonl").write_text("")
    (tmp_path / "pack.json").write_text('{"format": 1, "scale": 2, "pictures": 0}')
    with pytest.raises(UserError, match=r"a pack of version 0\.1: pack the images again"):
        folder_dataset(tmp_path, 2)


def test_pack_command(image_folder, tmp_path):
    result = run_command("data", "pack", image_folder, "--output", tmp_path / "pack", "--scale", 2)
    assert result.returncode == 0, result.stderr
    assert "(6 images, 0.00 GB), all checksums verified" in result.stdout
    assert_one_line_error(run_command("data", "pack", "nowhere", "--output", "x"), "nowhere")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    result = run_command("data", "pack", image_folder, "--output", tmp_path / "full")
    assert_one_line_error(result, "holds no pack: choose a new folder (--output)")
