"""What the tests share: small pictures, benchmark images where they are, commands as processes."""

import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"

SMALL_NETWORKS = {  # small forms of the networks, for speed
    "edsr_s": {"num_blocks": 2, "num_filters": 8},
    "edsr": {"num_blocks": 1, "num_filters": 12},
    "dpdnn": {"num_stages": 2, "num_filters": 8},
}


@pytest.fixture(autouse=True)
def fixed_seed():
    """Fresh networks start from the same weights in every run of the tests."""
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(0)


@pytest.fixture(scope="session")
def shared_data():
    """Folder of the research-only benchmark images; tests that need it are skipped without it."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip(f"the benchmark images are not here: {folder}")
    return folder


@pytest.fixture(scope="session")
def reference():
    """Folder of reference numbers, likewise."""
    folder = SHARED / "reference"
    if not folder.is_dir():
        pytest.skip(f"the reference numbers are not here: {folder}")
    return folder


def noise_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A uint8 RGB image of smooth noise."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (height // 4 + 2, width // 4 + 2, 3), dtype=np.uint8)
    size = (width, height)
    return np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))


def fill_folder(folder, count):
    """Writes pictures of different sizes, every other one in a folder below."""
    from udl_tf.image_io import write_image

    for index in range(count):
        place = folder / ("below" if index % 2 else "") / f"{index:03}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        write_image(place, noise_image(20 + index % 7, 24 + index % 5, index))


def transparent_model(scale: int):
    """A SuperResolver whose EDSR repeats every pixel scale x scale times, with theta = 1.

    Whatever else comes out of it was done to the picture before or after the network.
    """
    from udl_tf.models import build_model
    from udl_tf.super_resolver import SuperResolver

    network = build_model("edsr_s", scale, num_blocks=1, num_filters=4)
    for layer in network.layers:
        layer.set_weights([np.zeros_like(value) for value in layer.get_weights()])
    for layer in network.layers:
        if layer.name in ("head", "tail", "upsample0", "upsample1"):
            kernel, bias = layer.get_weights()
            for channel in range(kernel.shape[3]):  # all phases of a channel alike
                if (source := channel % (3 if layer.name == "tail" else 4)) < kernel.shape[2]:
                    kernel[1, 1, source, channel] = 1.0
            layer.set_weights([kernel, bias])
    return SuperResolver(scale, network, network)


@pytest.fixture(scope="session")
def transparent_run(tmp_path_factory):
    """A bundle on disk of transparent_model(2)."""
    from udl_tf import bundle
    from udl_tf.config import ModelConfig

    folder = tmp_path_factory.mktemp("transparent")
    options = {"num_blocks": 1, "num_filters": 4}
    file = "weights/both.weights.h5"
    bundle.save_weights(transparent_model(2).mean, folder / file)
    manifest = bundle.Manifest(
        architecture=ModelConfig(name="edsr_s", scale=2, options=options),
        mean=bundle.MeanFile(weights=file, uncertainty=True),
        uncertainty=bundle.UncertaintyFile(weights=file, unit=1.0, power=1.0),
        training={},
    )
    bundle.write_manifest(folder, manifest)
    return folder


def make_run(folder: Path, name: str, scale: int, calibrated: bool = True, **options) -> Path:
    """A bundle on disk of two different, untrained networks, with a theta of some grey levels."""
    from udl_tf import bundle
    from udl_tf.calibration import LEVELS, Calibration, laplace_factor
    from udl_tf.config import ModelConfig
    from udl_tf.models import build_model

    files = {}
    for part in ("mean", "uncertainty"):
        network = build_model(name, scale, **(options or SMALL_NETWORKS[name]))
        head = network.get_layer("log_scale_conv2")  # whose s of an untrained EDSR are in the tens
        head.set_weights([0.1 * value for value in head.get_weights()])
        files[part] = f"weights/{part}.weights.h5"
        bundle.save_weights(network, folder / files[part])
    factors = laplace_factor(LEVELS)[:, None].repeat(3, axis=1).tolist()
    calibration = Calibration(
        method="affine", a=[0.1, 0.0, -0.1], b=[1.0, 0.9, 1.1], levels=LEVELS.tolist(),
        factors=factors, data="nothing", images=0,
    )  # fmt: skip
    manifest = bundle.Manifest(
        architecture=ModelConfig(name=name, scale=scale, options=options or SMALL_NETWORKS[name]),
        mean=bundle.MeanFile(weights=files["mean"], uncertainty=True),
        uncertainty=bundle.UncertaintyFile(weights=files["uncertainty"], unit=1.5, power=1.0),
        calibration=calibration if calibrated else None,
        training={},
    )
    bundle.write_manifest(folder, manifest)
    return folder


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """A bundle on disk of small EDSR networks x2."""
    return make_run(tmp_path_factory.mktemp("runs") / "small_x2", "edsr_s", 2)


@pytest.fixture(scope="session")
def served(small_run, tmp_path_factory):
    """The folder of a served model, exported from small_run, with version 1 in it."""
    from udl_tf.export.savedmodel import export_savedmodel

    folder = tmp_path_factory.mktemp("models") / "small_x2"
    export_savedmodel(small_run, folder, max_pixels=200 * 200)
    return folder


@pytest.fixture
def image_folder(tmp_path):
    """A folder of six 48x56 PNG images."""
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(6):
        Image.fromarray(noise_image(48, 56, index)).save(folder / f"image{index}.png")
    return folder


def run_module(module: str, *arguments, cwd: Path = ROOT, **environment):
    """Runs `python -m module` to its end; (exit code, stdout, stderr) as CompletedProcess."""
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def assert_one_line_error(result, *parts: str) -> None:
    """A command ended with exit code 2 and one line of error that holds `parts`."""
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, result.stderr
    assert result.stderr.rstrip().splitlines()[-1] == errors[0]
    for part in parts:
        assert part in errors[0]
