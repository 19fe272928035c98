import numpy as np
import pytest
from helpers.measurements import slices, tiny_config, write_heights, write_stack

from udl_tf.config import Config
from udl_tf.data.pixels import Pixels
from udl_tf.data.sources import folder_dataset
from udl_tf.data.split import Split
from udl_tf.data.store import ImageStore
from udl_tf.errors import UserError
from udl_tf.imaging.value_range import ValueRange
from udl_tf.training.data import load_data, middles


@pytest.fixture
def config(tmp_path):
    return Config.model_validate(tiny_config("microscopy_x2", write_heights(tmp_path / "images")))


def test_percentiles_are_those_of_the_start_when_a_run_resumes(tmp_path, config):
    first = load_data(config, None, tmp_path)
    low, high = first.split.value_range
    trained = np.concatenate([np.load(name).ravel() for name in first.split.training])
    expected = np.nanquantile(trained.astype(float), [0.001, 0.999])
    assert (low, high) == pytest.approx(tuple(expected), abs=1e-3)
    np.save(tmp_path / "images/9.npy", np.full((40, 44), 5000, np.float32))
    again = load_data(config, Split.model_validate_json(first.split.model_dump_json()), tmp_path)
    assert len(again.training) == len(first.training) + 1
    for store in (again.training, again.held_out):
        assert store.pixels.unit.ranges == [low, high]
    assert again.test[0].pixels.unit.ranges == [low, high]
    assert again.summary["value_range"] == [low, high]
    assert f"1 channel, values {low:g}..{high:g}" in again.summary["text"]


def test_bundled_images_do_not_suit_other_channels(tmp_path, config):
    bundled = config.changed(data=config.data.changed(train=["bundled"], test=["bundled"]))
    with pytest.raises(UserError, match="has 3 channels; expected 1"):
        load_data(bundled, None, tmp_path)


def test_stacks_are_held_out_as_a_whole(tmp_path):
    for index in range(2):
        write_stack(tmp_path / f"stacks/{index}.ome.tif", slices(4, index, 24, 24))
    content = tiny_config("microscopy_x2", tmp_path / "stacks")
    content["data"] |= {"validation_images": 3, "value_range": "percentile"}
    config = Config.model_validate(content)
    data = load_data(config, None, tmp_path)
    (trained,), (held_out,) = data.split.training, data.split.held_out
    assert {trained, held_out} == {str(tmp_path / f"stacks/{index}.ome.tif") for index in range(2)}
    assert (len(data.training), len(data.held_out)) == (4, 3)
    values = slices(4, int(trained.endswith("1.ome.tif")), 24, 24)
    assert data.split.value_range == pytest.approx(np.quantile(values, [0.001, 0.999]).tolist())
    assert (
        "4 images, 3 more held out for validation; other planes of held-out files, not used: 1"
        in data.summary["text"]
    )
    assert len(load_data(config, data.split, tmp_path).training) == 4  # not the unused plane

    (tmp_path / "stacks/1.ome.tif").unlink()
    text = load_data(config, None, tmp_path).summary["text"]
    assert "all are planes of one file, so that the held-out ones are trained on too" in text


def test_images_without_data_in_their_middle_do_not_validate(tmp_path):
    """Their filled LR images are all grey, which a network that learns would be called dead for."""
    folder = write_heights(tmp_path / "images", 2)
    hole = np.load(folder / "1.npy")
    hole[16:24, 18:26] = np.nan
    np.save(folder / "1.npy", hole)
    sources = folder_dataset(folder, 2, Pixels(1, ValueRange((900,), (1100,)))).sources
    names, ((lr, hr),) = middles(ImageStore(sources, 2, 1), side=8)
    assert names == ["0.npy"]
    assert (lr.shape, hr.shape) == ((4, 4, 1), (8, 8, 1))
    with pytest.raises(UserError, match="none of 1 held-out images has data in its central 8x8"):
        middles(ImageStore(sources[1:], 2, 1), side=8)
