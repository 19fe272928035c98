import os

import numpy as np
import pytest

from udl_tf.models import build_model
from udl_tf.models.weight_files import load_weights, save_weights

SMALL = {"num_blocks": 1, "num_filters": 8}
HEADS = {
    None: {"uncertainty": False},
    "released": {},
    "light": {"log_scale_head": "light"},
}


def test_half_precision_rounds_the_weights(tmp_path):
    network, read = build_model("edsr_s", 2, **SMALL), build_model("edsr_s", 2, **SMALL)
    for half in (False, True):
        path = tmp_path / f"{half}.weights.h5"
        save_weights(network, path, half)
        load_weights(read, path)
        for found, given in zip(read.get_weights(), network.get_weights(), strict=True):
            expected = given.astype(np.float16).astype(np.float32) if half else given
            assert np.array_equal(found, expected)
    sizes = [path.stat().st_size for path in sorted(tmp_path.iterdir())]
    assert sizes[1] < sizes[0]


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system reserves no space")
@pytest.mark.parametrize("fraction", [0.05, 0.5, 0.99])
def test_a_full_disk_is_an_error_before_hdf5_writes(tmp_path, fraction):
    """HDF5 would crash the process. The largest size of a file stands in for a full disk."""
    import resource

    network = build_model("edsr_s", 2, **SMALL)
    save_weights(network, tmp_path / "whole.weights.h5")
    whole = (tmp_path / "whole.weights.h5").stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(fraction * whole), limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            save_weights(network, tmp_path / "full/mean.weights.h5")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.filename == str(tmp_path / "full/mean.weights.h5")
    assert list((tmp_path / "full").iterdir()) == []


@pytest.mark.parametrize("head", [None, "released", "light"])
def test_the_space_that_is_reserved_suffices(head, tmp_path, monkeypatch):
    reserved = []
    monkeypatch.setattr(
        "udl_tf.models.weight_files.require_space", lambda path, size: reserved.append(size)
    )
    save_weights(build_model("edsr_s", 2, **HEADS[head], **SMALL), tmp_path / "w.weights.h5")
    assert (tmp_path / "w.weights.h5").stat().st_size <= reserved[0]
