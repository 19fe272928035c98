import numpy as np
import pytest
from helpers.models import SMALL_NETWORKS

from udl_tf.inference.chain_runner import ChainRunner
from udl_tf.models import build_model

CASES = [(name, scale) for name in SMALL_NETWORKS for scale in (2, 3, 4)]
OUTPUTS = ("sr", "log_scale")


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (height, width, 3)).astype(np.float32)


def assembled(runner: ChainRunner, lr: np.ndarray, scale: int, **options) -> np.ndarray:
    out = np.full((lr.shape[0] * scale, lr.shape[1] * scale, 3), np.nan, np.float32)
    for part, values in runner.run(lr, **options):
        out[part] = values
    return out


@pytest.mark.parametrize(("name", "scale"), CASES)
def test_a_chain_is_the_network(name, scale):
    network = build_model(name, scale, **SMALL_NETWORKS[name])
    lr = picture(9, 14)
    whole = network(lr[None])
    for output in OUTPUTS:
        made = assembled(ChainRunner(network.build_chain(output)), lr, scale)
        assert np.allclose(made, whole[output][0], atol=1e-3)


@pytest.mark.parametrize(("name", "scale"), CASES)
def test_behind_a_border_a_chain_is_the_network_too(name, scale):
    """Within 1e-3 of 255 levels: EDSR's upsampler is one convolution then; alone and beside s."""
    network = build_model(name, scale, **SMALL_NETWORKS[name])
    lr = picture(33, 38)
    whole, edge = network(lr[None]), 8 * scale
    expected = np.concatenate([whole[output][0] for output in OUTPUTS], axis=-1)
    inner = np.s_[edge:-edge, edge:-edge]
    for outputs, channels in ((OUTPUTS[:1], 3), (OUTPUTS, 6)):
        runner = ChainRunner(network.build_chain(*outputs, bordered=True))
        out = np.full((33 * scale, 38 * scale, channels), np.nan, np.float32)
        for part, values in runner.run(lr):
            out[part] = values
        difference = np.abs(out - expected[..., :channels])[inner]
        assert difference.max() <= 1e-3
        assert np.ptp(expected[inner]) > 1
    if name.startswith("edsr"):
        heads = [network.build_chain("sr", bordered=b)[-1].network for b in (False, True)]
        assert len(heads[1].layers) < len(heads[0].layers)


@pytest.mark.parametrize(("name", "scale"), CASES)
def test_stages_state_how_far_they_reach(name, scale):
    """Changing one pixel changes a stage's result nowhere beyond its radius."""
    network = build_model(name, scale, **SMALL_NETWORKS[name])
    for output in OUTPUTS:
        for stage in network.build_chain(output):
            side = 2 * stage.radius + 7
            middle = side // 2
            images = []
            for value in stage.network.inputs:
                size = side * (scale if len(images) == 0 and len(stage.network.inputs) == 2 else 1)
                shape = (1, size, size, value.shape[-1])
                images.append(np.random.default_rng(0).uniform(0, 1, shape).astype(np.float32))
            before = np.asarray(stage.network(images if len(images) > 1 else images[0]))
            for image in images:
                at = middle * (image.shape[1] // side)
                image[0, at : at + image.shape[1] // side, at] += 100.0
            after = np.asarray(stage.network(images if len(images) > 1 else images[0]))
            _, rows, columns, _ = np.nonzero(np.abs(after - before) > 1e-4)
            reach = max(np.abs(rows // stage.scale - middle).max(),
                        np.abs(columns // stage.scale - middle).max())  # fmt: skip
            assert reach <= stage.radius
            if name != "dpdnn":  # whose outermost taps hardly show
                assert reach >= stage.radius - 1


@pytest.mark.parametrize(("name", "scale"), CASES)
def test_tiled_equals_whole(name, scale):
    """Within 1e-3, on an odd size, for the image's and theta's networks.

    A tiny budget makes the stages run in tiles too; a side of 1 makes tiles of one row and column.
    """
    network = build_model(name, scale, **SMALL_NETWORKS[name])
    lr = picture(41, 27)
    for output in OUTPUTS:
        runner = ChainRunner(network.build_chain(output))
        whole = assembled(runner, lr, scale)
        cases = [{"tile": 13}, {"budget": 2e5}]
        if name == "edsr_s":
            cases += [{"tile": 13, "budget": 2e5}, {"tile": 1, "budget": 3e8}]
        for options in cases:
            made = assembled(runner, lr, scale, **options)
            assert np.abs(made - whole).max() <= 1e-3 * max(1, np.abs(whole).max() / 255), options


@pytest.mark.parametrize("shape", [(1, 1), (1, 90), (90, 1), (2, 3)])
def test_thin_pictures_in_tiles(shape):
    network = build_model("edsr_s", 4, **SMALL_NETWORKS["edsr_s"])
    runner, lr = ChainRunner(network.build_chain("sr")), picture(*shape)
    whole = network(lr[None])["sr"][0]
    assert np.allclose(assembled(runner, lr, 4, tile=7), whole, atol=1e-2)


def test_equal_tiles_go_through_the_network_together():
    network = build_model("edsr_s", 2, **SMALL_NETWORKS["edsr_s"])
    runner, sizes = ChainRunner(network.build_chain("sr")), []
    forwards = list(runner._forward)
    runner._forward[0] = lambda x: sizes.append(x.shape) or forwards[0](x)
    assembled(runner, picture(64, 64), 2, tile=8, budget=1e8)
    assert sum(shape[0] for shape in sizes) == 64
    assert len(sizes) < 16
    assert len({shape[1:] for shape in sizes}) == 1


def test_a_stage_that_runs_out_of_memory_is_done_again_in_halves():
    network = build_model("edsr_s", 2, **SMALL_NETWORKS["edsr_s"])
    runner, lr, failures = ChainRunner(network.build_chain("sr")), picture(40, 40), []
    whole, forwards = assembled(runner, lr, 2), list(runner._forward)

    def small_only(x):
        if x.shape[0] * x.shape[1] * x.shape[2] > 900:
            failures.append(x.shape)
            raise MemoryError
        return forwards[0](x)

    runner._forward[0] = small_only
    assert np.allclose(assembled(runner, lr, 2), whole, atol=1e-3)
    assert failures


def test_the_dpdnn_of_the_paper_states_its_receptive_field():
    network = build_model("dpdnn", 4)
    assert ChainRunner(network.build_chain("sr")).radius == 230
