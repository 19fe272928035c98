from functools import cache

import keras
import numpy as np
import pytest
from helpers.models import build_small

from udl_tf._support.progress import Counter
from udl_tf.inference import chain_runner
from udl_tf.inference.chain_runner import ChainRunner
from udl_tf.models import build_model

# Every upsampler of EDSR (one shuffle by 2, one by 3, two by 2, a direct one), other sizes of it,
# SPAN, and DPDNN where tiles start at multiples of 16 LR pixels.
CASES = [
    ("edsr_s", 2),
    ("edsr_s", 3),
    ("edsr_s", 4),
    ("edsr", 2),
    ("light", 3),
    ("span", 4),
    pytest.param("dpdnn", 3, marks=pytest.mark.slow),
]
OUTPUTS = ("sr", "log_scale")


@cache
def network_of(name: str, scale: int):
    return build_small(name, scale)


@cache
def runner_of(name: str, scale: int, *outputs: str, bordered: bool = False) -> ChainRunner:
    return ChainRunner(network_of(name, scale).build_chain(*outputs, bordered=bordered))


def fresh_runner(name: str, scale: int) -> ChainRunner:
    """A runner of its own, for tests that change it."""
    return ChainRunner(network_of(name, scale).build_chain("sr"))


def random_image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (height, width, 3)).astype(np.float32)


def assembled(runner: ChainRunner, lr: np.ndarray, channels: int = 3, **options) -> np.ndarray:
    height, width = (side * runner.scale for side in lr.shape[:2])
    out = np.full((height, width, channels), np.nan, np.float32)
    for part, values in runner.run(lr, **options):
        out[part] = np.concatenate([*values], axis=-1)
    return out


@pytest.mark.parametrize(("name", "scale"), CASES)
def test_a_chain_equals_the_network(name, scale):
    lr = random_image(9, 14)
    whole = network_of(name, scale)(lr[None])
    for output in OUTPUTS:
        result = assembled(runner_of(name, scale, output), lr)
        assert np.allclose(result, whole[output][0], atol=1e-3)


@pytest.mark.parametrize(("name", "scale"), CASES)
def test_a_bordered_chain_equals_the_network_inside_the_border(name, scale):
    """Within 1e-3 of 255 levels, or as small a part of a wider range, for sr and for sr with s.

    EDSR's upsampler is one convolution.

    DPDNN's chain is the same with and without a border.
    """
    network, edge = network_of(name, scale), 8 * scale
    lr = random_image(19, 22)
    whole = network(lr[None])
    expected = np.concatenate([whole[output][0] for output in OUTPUTS], axis=-1)
    inner = np.s_[edge:-edge, edge:-edge]
    width = np.ptp(expected[inner])
    assert width > 1
    for outputs in (OUTPUTS,) if name == "dpdnn" else (OUTPUTS[:1], OUTPUTS):
        channels = 3 * len(outputs)
        result = assembled(runner_of(name, scale, *outputs, bordered=True), lr, channels)
        assert np.abs(result - expected[..., :channels])[inner].max() <= 1e-3 * max(1, width / 255)
    if name.startswith("edsr"):
        heads = [runner_of(name, scale, "sr", bordered=b).stages[-1].network for b in (False, True)]
        assert len(heads[1].layers) < len(heads[0].layers)


def reach_of(stage, scale: int) -> int:
    """LR pixels by which a change of one LR pixel spreads in the stage's map."""
    side = 2 * stage.radius + 7
    middle = side // 2
    images = []
    for value in stage.network.inputs:
        # Of two inputs, the second is the LR image and the first the map before: an image at HR
        # size or features at LR size.
        hr = not images and len(stage.network.inputs) == 2 and value.shape[-1] == 3
        size = side * (scale if hr else 1)
        shape = (1, size, size, value.shape[-1])
        images.append(np.random.default_rng(0).uniform(0, 1, shape).astype(np.float32))
    before = np.asarray(stage.network(images if len(images) > 1 else images[0]))
    for image in images:
        pixels = image.shape[1] // side
        image[0, middle * pixels : (middle + 1) * pixels, middle * pixels] += 1e4
    after = np.asarray(stage.network(images if len(images) > 1 else images[0]))
    _, rows, columns, _ = np.nonzero(np.abs(after - before) > 1e-4)
    return max(np.abs(places // stage.scale - middle).max() for places in (rows, columns))


@pytest.mark.parametrize(("name", "scale"), CASES)
def test_stages_state_how_far_they_reach(name, scale):
    """Changing one pixel changes a stage's result nowhere beyond its radius."""
    for output in OUTPUTS:
        for stage in runner_of(name, scale, output).stages:
            reach = reach_of(stage, scale)
            assert reach <= stage.radius
            if name != "dpdnn":  # whose outermost taps are too weak to be seen
                assert reach >= stage.radius - 1


@pytest.mark.parametrize(
    ("name", "scale"), [*CASES, pytest.param("dpdnn", 4, marks=pytest.mark.slow)]
)
def test_tiles_equal_the_whole(name, scale):
    """Within 1e-3, on an odd size, for the networks of sr and of theta.

    With a tiny budget the stages run in tiles too; a side of 1 gives tiles of one row and column.
    """
    lr = random_image(41, 27)
    for output in OUTPUTS:
        runner = runner_of(name, scale, output)
        whole = assembled(runner, lr)
        cases = [{"tile": 13}, {"budget": 2e5}]
        if name == "edsr_s" and scale == 2:
            cases += [{"tile": 13, "budget": 2e5}, {"tile": 1, "budget": 3e8}]
        for options in cases:
            result = assembled(runner, lr, **options)
            assert np.abs(result - whole).max() <= 1e-3 * max(1, np.abs(whole).max() / 255), options


@pytest.mark.parametrize("shape", [(1, 1), (1, 90), (90, 1), (2, 3)])
def test_thin_images_in_tiles(shape):
    lr = random_image(*shape)
    whole = network_of("edsr_s", 4)(lr[None])["sr"][0]
    assert np.allclose(assembled(runner_of("edsr_s", 4, "sr"), lr, tile=7), whole, atol=1e-2)


def test_equal_tiles_are_computed_together():
    runner, sizes = fresh_runner("edsr_s", 2), []
    (forward,) = runner._whole[0]
    runner._whole[0] = [lambda x, lr: sizes.append(x.shape) or forward(x, lr)]
    assembled(runner, random_image(64, 64), tile=8, budget=1e8)
    assert sum(shape[0] for shape in sizes) == 64
    assert len(sizes) < 16
    assert len({shape[1:] for shape in sizes}) == 1


def test_a_stage_that_runs_out_of_memory_is_computed_again_in_halves():
    runner, lr, failures = fresh_runner("edsr_s", 2), random_image(40, 40), []
    whole, (forward,) = assembled(runner, lr), runner._whole[0]

    def small_only(x, lr):
        if x.shape[0] * x.shape[1] * x.shape[2] > 900:
            failures.append(x.shape)
            raise MemoryError
        return forward(x, lr)

    runner._whole[0] = [small_only]
    assert np.allclose(assembled(runner, lr), whole, atol=1e-3)
    assert failures


def test_a_trunk_in_parts_equals_the_network_and_shows_progress_within_a_tile(monkeypatch):
    """Five blocks are three parts, and the head is the fourth: shares of an image in one tile.

    Small images are computed in one call: three of the four parts at once, then the head.
    """
    network, lr, shown = (
        build_model("edsr_s", 2, num_blocks=5, num_filters=8),
        random_image(9, 14),
        [],
    )
    runner = ChainRunner(network.build_chain("sr"))
    for batch, shares in (chain_runner._CPU_BATCH, [0.75, 1.0]), (0, [0.25, 0.5, 0.75, 1.0]):
        monkeypatch.setattr(chain_runner, "_CPU_BATCH", batch)
        shown.clear()
        counter = Counter(lambda done, total, label: shown.append(done / total), lr.size / 3)
        result = assembled(runner, lr, counter=counter)
        assert np.allclose(result, network(lr[None])["sr"][0], atol=1e-3)
        assert np.allclose(shown, shares)


def test_more_memory_means_fewer_pixels_computed_twice():
    runner = runner_of("edsr_s", 2, "sr")
    pixels = 4000 * 4000
    sides = [runner.plan(pixels, budget)[0] for budget in (1e7, 1e8, 1e9)]
    assert sides == sorted(sides)
    assert sides[0] >= runner.radius  # however small the budget
    assert runner.plan(100 * 100, 1e9)[0] >= 100  # whole


def test_the_dpdnn_of_the_paper_states_its_receptive_field():
    """Its chain alone, whose stages state it: no graph is traced."""
    from udl_tf.models.stages import chain_radius

    assert chain_radius(build_model("dpdnn", 4).build_chain("sr")) == 230


@pytest.mark.parametrize(("free", "budget"), [(None, 1e9), (1e9, 0.25e9), (20e9, 5e9), (80e9, 8e9)])
def test_tiles_are_sized_by_the_free_memory_of_the_gpu(monkeypatch, free, budget):
    """A quarter, because two batches are computed at a time; this machine's without a GPU."""
    monkeypatch.setattr(chain_runner, "free_gpu_memory", lambda: free)
    monkeypatch.setattr(chain_runner, "free_memory", lambda: 16e9)
    assert runner_of("edsr_s", 2, "sr").default_budget() == budget


def test_maps_between_stages_stay_on_the_device(monkeypatch):
    """One conversion to NumPy, of the last map, unless a stage runs in tiles."""
    runner, converted = fresh_runner("edsr_s", 2), []

    def convert(x, original=keras.ops.convert_to_numpy):
        converted.append(x.shape)
        return original(x)

    monkeypatch.setattr(keras.ops, "convert_to_numpy", convert)
    runner.values(random_image(12, 12)[None], [1e9] * len(runner.stages))
    assert converted == [(1, 24, 24, 3)]
