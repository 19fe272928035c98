"""Fixtures shared by several rooms."""

import gc
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest
from helpers.commands import ROOT
from helpers.images import noise_image
from helpers.models import make_run, transparent_model
from PIL import Image

SHARED = ROOT.parent / "shared"


def pytest_collection_finish():
    """Spares the garbage collector all that the tests have imported: a tenth of their time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


@pytest.fixture(autouse=True)
def fixed_seed():
    """Seeds Keras, so that new networks have the same weights in every run of the tests."""
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(0)


@pytest.fixture(scope="session", autouse=True)
def cached_compilations(tmp_path_factory):
    """Lets processes under JAX compile each computation once."""
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(tmp_path_factory.mktemp("jax"))
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"


@pytest.fixture(scope="session")
def shared_data():
    """Folder of the research-only benchmark images; without it, tests that need it are skipped."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip(f"benchmark images not found: {folder}")
    return folder


@pytest.fixture(scope="session")
def reference():
    """Folder of reference numbers; without it, tests that need it are skipped."""
    folder = SHARED / "reference"
    if not folder.is_dir():
        pytest.skip(f"reference numbers not found: {folder}")
    return folder


@pytest.fixture(scope="session")
def transparent_run(tmp_path_factory):
    """Run folder of transparent_model(2)."""
    from udl_tf.config import ModelConfig
    from udl_tf.models.weight_files import save_weights
    from udl_tf.saved import bundle

    folder = tmp_path_factory.mktemp("transparent")
    options = {"num_blocks": 1, "num_filters": 4}
    file = "weights/both.weights.h5"
    save_weights(transparent_model(2).networks.mean, folder / file)
    manifest = bundle.Manifest(
        architecture=ModelConfig(name="edsr_s", scale=2, options=options),
        mean=bundle.NetworkFile(weights=file, log_scale_head="released"),
        uncertainty=bundle.UncertaintyFile(
            weights=file, log_scale_head="released", unit=1.0, power=1.0
        ),
        training={},
    )
    bundle.write_manifest(folder, manifest)
    return folder


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """Run folder of small EDSR networks x2."""
    return make_run(tmp_path_factory.mktemp("runs") / "small_x2", "edsr_s", 2)


@pytest.fixture(scope="session")
def served(small_run, tmp_path_factory):
    """Folder of a served model, exported from small_run, with version 1."""
    from udl_tf.export.savedmodel import export_savedmodel

    folder = tmp_path_factory.mktemp("models") / "small_x2"
    export_savedmodel(small_run, folder, max_pixels=200 * 200)
    return folder


@pytest.fixture
def image_folder(tmp_path):
    """Folder of six 48x56 PNG images."""
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(6):
        Image.fromarray(noise_image(48, 56, index)).save(folder / f"image{index}.png")
    return folder
