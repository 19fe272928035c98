"""Mutated model.json and weight files are working models, or a UserError."""

import json
import shutil
from functools import partial

import numpy as np
from fuzz.mutations import mutated, mutated_json, replace_bytes, set_number
from helpers.models import make_run
from hypothesis import strategies as st

from udl_tf._support.files import sha256
from udl_tf.saved.loading import load_upscaler

WEIGHTS = "weights/mean.weights.h5"
IN_PLACE = (replace_bytes, set_number) * 6  # others destroy the structure of HDF5


def load_bundle(seed, folder, case):
    """Loads the bundle `seed` with other content in one file; weights may match the checksum."""
    name, content, signed = case
    bundle = folder / "bundle"
    shutil.rmtree(bundle, ignore_errors=True)
    shutil.copytree(seed, bundle)
    (bundle / name).write_bytes(content)
    if signed:
        manifest = json.loads((bundle / "model.json").read_text())
        manifest["mean"]["sha256"] = sha256(bundle / WEIGHTS)
        (bundle / "model.json").write_text(json.dumps(manifest))
    model = load_upscaler(bundle)
    result = model.upscale(np.zeros((4, 5, 3), np.uint8))
    assert result.image.shape == (4 * model.scale, 5 * model.scale, 3)
    assert (result.theta is not None) == model.has_uncertainty
    if model.calibration:
        low, high = result.interval(model.calibration.levels[-1])
        assert (low <= result.image).all()
        assert (high >= result.image).all()


def shorten_calibration(path):
    """Keeps the first three levels, so that most mutations hit something else."""
    manifest = json.loads(path.read_text())
    for key in ("levels", "factors"):
        manifest["calibration"][key] = manifest["calibration"][key][:3]
    path.write_text(json.dumps(manifest))


def test_bundles(fuzz, tmp_path):
    seed = make_run(tmp_path / "seed", "edsr_s", 2, num_blocks=1, num_filters=4)
    shorten_calibration(seed / "model.json")
    manifest, weights = ((seed / name).read_bytes() for name in ("model.json", WEIGHTS))
    manifests = st.one_of(*[mutated_json(manifest)] * 3, mutated(manifest))
    cases = st.one_of(
        st.tuples(st.just("model.json"), manifests, st.just(False)),
        st.tuples(
            st.just(WEIGHTS), mutated(weights, IN_PLACE), st.sampled_from((True,) * 5 + (False,))
        ),
    )
    seeds = [("model.json", manifest, False), (WEIGHTS, weights, True)]
    fuzz(partial(load_bundle, seed), seeds, cases)
