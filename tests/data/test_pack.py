"""Packed training sets and cached uncertainty: files that are written bit by bit."""

import json

import numpy as np
import pytest
from helpers.commands import assert_one_line_error, run_command
from helpers.images import noise_image
from udl_tf.data.records import Records, record_writer

from udl_tf.config import Config, DataConfig
from udl_tf.data.pack import Pack, write_pack
from udl_tf.data.pipeline import Waiting, draw_batch, training_batches
from udl_tf.data.sources import folder_dataset, large_enough
from udl_tf.data.store import ImageStore, read_pair
from udl_tf.errors import UserError
from udl_tf.imaging.rgb_files import write_rgb
from udl_tf.models import build_model
from udl_tf.training.run import train
from udl_tf.training.uncertainty_cache import cached_log_scale

CONFIG = DataConfig(hr_patch_size=16, batch_size=8)


def pack(folder, output, scale=2):
    sources = folder_dataset(folder, scale).sources
    named = [(p.hr.name, lambda p=p: read_pair(p, scale)) for p in sources]
    return write_pack(output, scale, named)


def test_a_pack_trains_as_its_images_do(image_folder, tmp_path):
    pack(image_folder, tmp_path / "pack")
    plain = ImageStore(folder_dataset(image_folder, 2).sources, 2, memory_gb=1)
    packed = ImageStore(folder_dataset(tmp_path / "pack", 2).sources, 2, memory_gb=1)
    for update in range(3):
        expected, made = (draw_batch(store, CONFIG, 0, update) for store in (plain, packed))
        assert all(np.array_equal(a, b) for a, b in zip(expected, made, strict=True))
    assert packed.decoded == 0
    assert [p.size for p in packed.sources] == [p.size for p in plain.sources]
    assert len(large_enough(packed.sources, CONFIG)) == len(plain)


def test_packing_goes_on_where_it_was_broken_off(image_folder, tmp_path):
    whole = pack(image_folder, tmp_path / "whole")
    data, index = tmp_path / "torn/pairs.bin", tmp_path / "torn/pairs.jsonl"
    data.parent.mkdir()
    lines = (tmp_path / "whole/pairs.jsonl").read_text().splitlines(keepends=True)
    second = json.loads(lines[1])["offset"]
    # Broken off within the second picture, and within the line of the first but one.
    data.write_bytes((tmp_path / "whole/pairs.bin").read_bytes()[: second + 10])
    index.write_text(lines[0] + lines[1] + lines[2][:7])
    with pytest.raises(UserError, match="packing was broken off: run the same command again"):
        folder_dataset(tmp_path / "torn", 2)
    read = []
    sources = folder_dataset(image_folder, 2).sources
    named = [(p.hr.name, lambda p=p: read.append(p) or read_pair(p, 2)) for p in sources]
    write_pack(tmp_path / "torn", 2, named)
    assert len(read) == len(sources) - 1  # the first was there
    assert data.read_bytes() == (tmp_path / "whole/pairs.bin").read_bytes()
    assert Pack(tmp_path / "torn", 2).names == whole.names


def test_bad_packs_are_one_line(image_folder, tmp_path):
    folder = tmp_path / "pack"
    pack(image_folder, folder)
    with pytest.raises(UserError, match="packed for x2, not for x3: pack it so too"):
        folder_dataset(folder, 3)
    content = bytearray((folder / "pairs.bin").read_bytes())
    content[5] ^= 1
    (folder / "pairs.bin").write_bytes(content)
    with pytest.raises(UserError, match="is damaged: pack the images again"):
        Pack(folder, 2).check(0)
    result = run_command("data", "check", str(folder), "--scale", "2")
    assert "is damaged: pack the images again" in result.stdout
    (folder / "pairs.bin").write_bytes(content[:-1])
    with pytest.raises(UserError, match=r"bytes, and its index tells of \d+: cut off"):
        Pack(folder, 2)
    write_rgb(tmp_path / "other/a.png", noise_image(8, 8))
    with pytest.raises(UserError, match="holds a pack of other pictures"):
        pack(tmp_path / "other", folder)
    with pytest.raises(UserError, match="is not empty and holds no pack"):
        pack(image_folder, tmp_path / "other")


def test_the_pack_command(image_folder, tmp_path):
    arguments = ("pack", str(image_folder), "--output", str(tmp_path / "pack"), "--scale", "2")
    result = run_command("data", *arguments)
    assert result.returncode == 0, result.stderr
    assert "all as their checksums say" in result.stdout
    assert_one_line_error(run_command("data", "pack", "nowhere", "--output", "x"), "nowhere")


def test_records_keep_their_facts(tmp_path):
    arrays = [np.arange(12, dtype=np.uint8).reshape(3, 4), np.zeros((0, 2), np.uint8)]
    with record_writer(tmp_path / "new/maps") as writer:
        writer.add("a", arrays, low=0.5)
    with record_writer(tmp_path / "new/maps") as writer:
        assert writer.done == ["a"]
        writer.add("b", arrays[::-1])
    records = Records(tmp_path / "new/maps")
    assert records.names == ["a", "b"]
    assert records.entries[0].facts == {"low": 0.5}
    for made, expected in zip(records.arrays(1), arrays[::-1], strict=True):
        assert np.array_equal(made, expected)
    assert records.intact(0)


def test_a_map_is_cut_where_its_picture_is(image_folder):
    """With the HR image itself as the map, its patches are those of the HR image."""
    store = ImageStore(folder_dataset(image_folder, 2).sources, 2, memory_gb=1)
    batches = training_batches(store, CONFIG, 3, 0, lambda index: (store.pair(index)[1], 7.0, 0.5))
    for _, hr, values in batches.take(2):
        assert np.array_equal(values, 7.0 + 0.5 * hr.numpy())


def test_waiting_is_told(image_folder):
    store = ImageStore(folder_dataset(image_folder, 2).sources, 2, memory_gb=1)
    plain = list(training_batches(store, CONFIG, 3, 0).take(3).as_numpy_iterator())
    waiting = Waiting()

    def slow(batch):
        import time

        time.sleep(0.05)
        return batch

    import tensorflow as tf

    batches = training_batches(store, CONFIG, 3, 0).take(3)
    delayed = tf.data.Dataset.zip(
        batches.map(lambda lr, hr: tf.numpy_function(slow, [lr], tf.float32)), batches
    ).map(lambda lr, pair: (lr, pair[1]))
    for (lr, hr), expected in zip(waiting.timed(delayed), plain, strict=True):
        assert np.array_equal(lr, expected[0])
        assert np.array_equal(hr, expected[1])
    assert 0.15 <= waiting.seconds < 2


def test_cached_uncertainty_is_that_of_the_network(tmp_path):
    """Within half a step of 256, away from a border, for a network that knows no direction."""
    for index in range(3):
        write_rgb(tmp_path / f"images/{index}.png", noise_image(40, 48, index))
    store = ImageStore(folder_dataset(tmp_path / "images", 2).sources, 2, memory_gb=1)
    network = build_model("edsr_s", 2, num_blocks=1, num_filters=4)
    for layer in network.layers:
        if layer.get_weights():  # the same in all eight orientations
            kernel, bias = layer.get_weights()
            turned = [np.rot90(k, i, (0, 1)) for k in (kernel, kernel[::-1]) for i in range(4)]
            layer.set_weights([np.mean(turned, axis=0), bias])
    shuffled = cached_log_scale(network, store, tmp_path / "cache")
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").iterdir()}
    cached = cached_log_scale(network, store, tmp_path / "cache")
    assert {file for file in (tmp_path / "cache").iterdir()} == set(files)
    for index in range(3):
        lr, _ = store.pair(index)
        expected = np.asarray(network(lr[None].astype(np.float32))["log_scale"])[0]
        values, a, b = cached(index)
        inner = np.s_[12:-12, 12:-12]
        assert np.ptp(expected[inner]) > 0.01
        assert np.abs(a + b * values.astype(np.float32) - expected)[inner].max() <= 0.51 * b
        assert np.array_equal(shuffled(index)[0], values)
    network.get_layer("log_scale_conv2").bias.assign_add([0.1, 0.1, 0.1])
    cached_log_scale(network, store, tmp_path / "cache")
    assert len(list((tmp_path / "cache").glob("*.bin"))) == 2  # other weights, other maps


def test_a_run_with_cached_uncertainty(tmp_path):
    for index in range(6):
        write_rgb(tmp_path / f"images/{index}.png", noise_image(40, 48, index))
    folder, weighting = [str(tmp_path / "images")], {"source": "uncertainty"}
    config = {
        "model": {"scale": 2, "options": {"num_blocks": 1, "num_filters": 4}},
        "data": {"hr_patch_size": 16, "batch_size": 2, "train": folder, "test": folder},
        "steps": [
            {"loss": "esu", "updates": 4},
            {"loss": "udl", "updates": 4, "weighting": weighting},
        ],
        "training": {"precision": "float32", "interval": 4, "cache_uncertainty": True},
        "evaluation": {"figures": 0},
    }
    config["data"]["cache_dir"] = str(tmp_path / "cache")
    train(Config.model_validate(config), tmp_path / "run")
    assert len(list((tmp_path / "cache").glob("uncertainty-*.bin"))) == 1
    log = (tmp_path / "run/log.txt").read_text()
    assert "uncertainty of 5 training images, to be made once" in log
    assert "% waiting for data)" in log
