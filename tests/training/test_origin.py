"""Starts from trained models."""

import pytest
from helpers.models import LIGHT, make_run

from udl_tf.config import Config
from udl_tf.errors import UserError
from udl_tf.saved.bundle import build_network
from udl_tf.training.origin import find_origin, take_over
from udl_tf.training.run_folder import RunFolder

TINY = {"num_blocks": 1, "num_filters": 4}


def run_from(folder, tmp_path, channels, **options):
    model = {"scale": 2, "channels": channels, "options": {**TINY, **options}}
    config = {"model": model, "training": {"start_from": str(folder)}}
    return RunFolder(tmp_path / "run", Config.model_validate(config))


@pytest.mark.parametrize(
    ("channels", "inputs", "outputs"),
    [(1, "summed", "averaged"), (4, "repeated", "repeated")],
)
def test_a_start_with_other_channels_names_what_was_done(tmp_path, channels, inputs, outputs):
    folder = make_run(tmp_path / "rgb", "edsr_s", 2, light=True, **TINY)
    run = run_from(folder, tmp_path, channels)
    network = build_network(run.config.model, "released")
    assert take_over(find_origin(run), network) == (
        f"for other channels: head (inputs {inputs}), tail (outputs {outputs}); layers with new"
        " weights: log_scale_conv0, log_scale_conv1, log_scale_conv2"
    )


def test_a_start_with_the_same_channels_changes_nothing(tmp_path):
    folder = make_run(tmp_path / "rgb", "edsr_s", 2, **TINY)  # two networks
    run = run_from(folder, tmp_path, 3)
    network = build_network(run.config.model, "released")
    origin = find_origin(run)
    assert take_over(origin, network) == "layers with new weights: none"
    assert origin.changes == {}


def test_a_start_with_two_networks_of_other_channels(tmp_path):
    folder = make_run(tmp_path / "rgb", "edsr_s", 2, **TINY)
    run = run_from(folder, tmp_path, 1)
    network = build_network(run.config.model, "released")
    assert take_over(find_origin(run), network) == (
        "for other channels: head (inputs summed), log_scale_conv2 (outputs averaged), tail"
        " (outputs averaged); layers with new weights: none"
    )


def test_a_shift_per_channel_is_asked_for_in_the_other_channels(tmp_path):
    shift = [100.0, 110.0, 130.0]
    folder = make_run(tmp_path / "rgb", "edsr_s", 2, light=True, **TINY, shift=shift)
    with pytest.raises(
        UserError, match=r"set model\.options\.shift=\[100.0, 110.0, 130.0, 100.0\]"
    ):
        find_origin(run_from(folder, tmp_path, 4))
    origin = find_origin(run_from(folder, tmp_path, 4, shift=[*shift, 100.0]))
    assert origin.model.channels == 4


def test_a_shift_in_a_list_of_one_equals_itself(tmp_path):
    folder = make_run(tmp_path / "rgb", "edsr_s", 2, light=True, **TINY, shift=[127.5])
    assert find_origin(run_from(folder, tmp_path, 3, shift=[127.5])) is not None


def test_branches_and_another_scale_beside_other_channels(tmp_path):
    options = {**TINY, **LIGHT}
    folder = make_run(tmp_path / "rgb", "edsr_s", 3, light=True, **{**options, "branches": False})
    run = run_from(folder, tmp_path, 4, **options)
    network = build_network(run.config.model, None)
    assert take_over(find_origin(run), network) == (
        "kernels split into branches; for other channels: head (inputs repeated); layers with new"
        " weights: tail"
    )
