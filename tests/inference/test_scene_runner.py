"""Scenes upscaled window by window."""

import re
from pathlib import Path

import numpy as np
import pytest
from helpers.models import SMALL_NETWORKS
from helpers.upscalers import Repeating

from udl_tf.errors import UserError
from udl_tf.imaging.value_range import ValueRange
from udl_tf.inference import scene_runner
from udl_tf.inference.passes import Wanted
from udl_tf.inference.scene_runner import upscale_scene
from udl_tf.scenes import Window, open_scene


def measuring(channels: int = 1, scale: int = 2) -> Repeating:
    model = Repeating(scale)
    model.channels, model.value_range = channels, ValueRange.of([0, 510])
    return model


def network_model(name: str, channels: int, scale: int = 2, **options):
    """Returns a KerasUpscaler of a small untrained network for measurements of 0..510."""
    from udl_tf.inference.keras_upscaler import KerasUpscaler, Networks
    from udl_tf.models import build_model

    network = build_model(name, scale, channels, **SMALL_NETWORKS[name] | options)
    return KerasUpscaler(Networks(scale, network, network, value_range=ValueRange.of([0, 510])))


def scene_file(folder: Path, values: np.ndarray) -> Path:
    np.save(folder / "scene.npy", values)
    return folder / "scene.npy"


def upscaled(model, path: Path, monkeypatch, side: int, **options):
    """Upscales a file in windows of the given side; returns (result, theta, flags, summary)."""
    plan = scene_runner.SceneRun._plan
    monkeypatch.setattr(
        scene_runner.SceneRun, "_plan", lambda self, memory: (side, plan(self, memory)[1])
    )
    monkeypatch.setattr(scene_runner, "_STEP", 4)
    result, theta = path.with_name("result.npy"), path.with_name("theta.npy")
    with open_scene(path) as scene:
        summary = upscale_scene(model, scene, result, theta, **options)
    flags = np.load(path.with_name("result_flags.npy"))
    return np.load(result), np.load(theta), flags, summary


def holed(shape: tuple[int, ...], share: float = 0.02) -> np.ndarray:
    """Returns values with structure, an area of one value, scattered nodata and a large hole."""
    rng = np.random.default_rng(0)
    values = rng.uniform(0, 510, shape).astype(np.float32)
    values[30:60, 30:60] = 200.0
    values[rng.random(shape) < share] = np.nan
    values[20:44, 5:40, 0] = np.nan
    return values


@pytest.mark.parametrize("consistent", [False, True])
@pytest.mark.parametrize("name", ["edsr_s", pytest.param("dpdnn", marks=pytest.mark.slow)])
def test_windows_equal_the_whole_across_nodata_and_plain_areas(
    name, consistent, tmp_path, monkeypatch
):
    model = network_model(name, 2)
    values = holed((90, 75, 2))
    path = scene_file(tmp_path, values)
    found = upscaled(model, path, monkeypatch, 28, wanted=Wanted(consistent=consistent))
    image, theta, flags, summary = found
    whole = model.upscale(values, consistent=consistent)
    assert summary.windows + summary.empty == 12
    # Kernels of convolutions differ by the shape of a window, in the last bits at most.
    np.testing.assert_allclose(image, whole.image, atol=0.001)
    np.testing.assert_allclose(theta, whole.theta, rtol=1e-4)
    np.testing.assert_array_equal(flags.reshape(whole.flags.shape), whole.flags)


@pytest.mark.parametrize("consistent", [False, True])
def test_what_is_not_a_network_is_equal_to_the_bit(consistent, tmp_path, monkeypatch):
    """Filling, plain areas, back projection, units and flags, with a network that adds nothing."""
    model, values = measuring(2), holed((90, 75, 2))
    found = upscaled(
        model, scene_file(tmp_path, values), monkeypatch, 20, wanted=Wanted(consistent=consistent)
    )
    whole = model.upscale(values, consistent=consistent)
    np.testing.assert_array_equal(found[0], whole.image)
    np.testing.assert_array_equal(found[1], whole.theta)
    np.testing.assert_array_equal(found[2].reshape(whole.flags.shape), whole.flags)


class Brightening(Repeating):
    """Repeats pixels and adds a grey level, which areas of one value do not keep."""

    def run(self, lr, tile=None, budget=None, notes=None, counter=None):
        for part, values in super().run(lr, tile, budget, notes, counter):
            yield part, values + 1


def test_areas_of_one_value_beside_holes_equal_the_whole(tmp_path, monkeypatch):
    """Column 19 is plain unless column 27, in the hole, is filled from column 35 too."""
    model = Brightening(2, 1)
    model.value_range = ValueRange.of([0, 510])
    values = np.full((20, 60, 1), 200, np.float32)
    values[:, 20:35], values[:, 35:] = np.nan, 100
    found = upscaled(model, scene_file(tmp_path, values), monkeypatch, 20)
    whole = model.upscale(values).image
    np.testing.assert_array_equal(whole[0, 36:40, 0], [200, 200, 202, 202])
    np.testing.assert_array_equal(found[0], whole)


@pytest.mark.parametrize(("dtype", "theta"), [(np.uint8, 1), (np.float32, 2)])
def test_a_value_range_is_that_of_floats(tmp_path, monkeypatch, dtype, theta):
    """A grey level is 510 / 255 of floats; integers of a mixed folder have the range of theirs."""
    path = scene_file(tmp_path, np.zeros((8, 8, 1), dtype))
    found = upscaled(Repeating(2, 1), path, monkeypatch, 8, value_range=(0, 510))
    np.testing.assert_array_equal(found[1], theta)


def test_a_value_range_for_a_model_with_its_own_is_refused(tmp_path, monkeypatch):
    path = scene_file(tmp_path, np.zeros((8, 8, 1), np.uint8))
    with pytest.raises(UserError, match=r"the model has its own, .* omit it"):
        upscaled(measuring(), path, monkeypatch, 8, value_range=(0, 510))


def test_planes_are_upscaled_one_after_another(tmp_path, monkeypatch):
    values = np.random.default_rng(0).integers(0, 510, (3, 20, 18, 1)).astype(np.uint16)
    image, _, _, summary = upscaled(measuring(), scene_file(tmp_path, values), monkeypatch, 16)
    assert image.dtype == np.uint16
    np.testing.assert_array_equal(image, values.repeat(2, axis=1).repeat(2, axis=2))
    assert (summary.windows, summary.empty) == (12, 0)
    assert summary.notes == []


def test_values_that_a_model_rounds_to_8_bits_are_noted(tmp_path, monkeypatch):
    class InEightBits(Repeating):
        eight_bit = True

    for dtype, count in ((np.uint8, 0), (np.uint16, 1)):
        path = scene_file(tmp_path, np.ones((8, 8, 1), dtype))
        notes = upscaled(InEightBits(2, 1), path, monkeypatch, 8)[-1].notes
        assert notes == ["values computed in 8 bits: this model supports no more"] * count


def test_a_model_of_one_channel_upscales_each_channel_by_itself(tmp_path, monkeypatch):
    model, values = network_model("edsr_s", 1), holed((40, 30, 2))
    both = upscaled(model, scene_file(tmp_path, values), monkeypatch, 200)
    for channel in range(2):
        path = scene_file(tmp_path, values[..., [channel]])
        one = upscaled(model, path, monkeypatch, 200)
        for found, expected in zip(both[:2], one[:2], strict=True):
            assert np.array_equal(found[..., [channel]], expected, equal_nan=True)


def test_windows_without_data_are_neither_computed_nor_written(tmp_path, monkeypatch):
    values = np.full((64, 64, 1), np.nan, np.float32)
    values[40:42, 3:6] = 100
    path = scene_file(tmp_path, values)
    written = []
    with open_scene(path) as scene:
        create = scene.create

        class Recording:
            def __init__(self, *args, **options):
                self.writer = create(*args, **options)

            def __enter__(self):
                self.writer.__enter__()
                return self

            def __exit__(self, *error):
                return self.writer.__exit__(*error)

            def write(self, window, *arrays):
                written.append(window)
                self.writer.write(window, *arrays)

        monkeypatch.setattr(scene, "create", Recording)
        monkeypatch.setattr(scene_runner.SceneRun, "_plan", lambda self, memory: (32, 1e9))
        monkeypatch.setattr(scene_runner, "_STEP", 4)
        reports = []
        summary = upscale_scene(
            measuring(),
            scene,
            tmp_path / "result.npy",
            progress=lambda done, total, label="": reports.append((done, total)),
        )
    assert (summary.windows, summary.empty) == (1, 3)
    assert written == [Window(0, 80, 0, 8, 16)]  # in steps of 4 LR pixels
    assert reports[-1] == (64 * 64, 64 * 64)
    image = np.load(tmp_path / "result.npy")
    assert np.isfinite(image).sum() == 4 * 6
    assert np.nanmax(np.abs(image - 100)) < 1e-3


def test_the_consistency_of_a_scene_is_that_of_its_valid_pixels(tmp_path, monkeypatch):
    """Repeated pixels are blurred by shrinking; back projection removes that."""
    path = scene_file(tmp_path, holed((90, 75, 1)))
    (before,) = upscaled(measuring(), path, monkeypatch, 20)[3].consistency
    consistent = Wanted(consistent=True)
    (after,) = upscaled(measuring(), path, monkeypatch, 20, wanted=consistent)[3].consistency
    assert before["rms"] > 10  # in the unit, of which a grey level is 2
    assert after["rms"] < 0.4
    assert after["correlation"] > 0.99999


def test_memory_that_does_not_suffice_is_one_line(tmp_path):
    path = scene_file(tmp_path, np.zeros((20, 20, 1), np.float32))
    with open_scene(path) as scene, pytest.raises(UserError, match=r"expected at least .* GB") as e:
        upscale_scene(measuring(), scene, tmp_path / "result.npy", memory_gb=0.01)
    assert e.value.argument == "memory"
    assert not (tmp_path / "result.npy").exists()


def test_less_memory_means_smaller_windows(tmp_path):
    import psutil

    used = psutil.Process().memory_info().rss / 1e9
    path = scene_file(tmp_path, np.zeros((20, 20, 1), np.float32))
    with open_scene(path) as scene:
        sides = [
            scene_runner.SceneRun(
                measuring(), scene, True, Wanted(), used + memory, None, None
            ).side
            for memory in (0.4, 1.0, 30.0)
        ]
    assert sides[0] < sides[1] < sides[2] == 2048


def test_a_scene_of_other_channels_is_one_line(tmp_path):
    path = scene_file(tmp_path, np.zeros((8, 8, 3), np.float32))
    message = f"{path}: has 3 channels; expected 4, those of the model"
    with open_scene(path) as scene, pytest.raises(UserError, match=re.escape(message)):
        upscale_scene(measuring(4), scene, tmp_path / "result.npy")
