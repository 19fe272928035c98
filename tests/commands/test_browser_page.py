"""tools/make_browser_page.py, and its page in a real browser."""

import contextlib
import functools
import http.server
import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import assert_one_line_error, run_tool
from helpers.images import noise_image
from helpers.models import make_run
from make_browser_page import download_runtime, make_browser_page
from PIL import Image

from udl_tf.errors import UserError

SIZE = 150, 24  # two tiles of the page


class Silent(http.server.SimpleHTTPRequestHandler):
    """A static server that logs nothing."""

    def log_message(self, format, *args):
        pass


@contextlib.contextmanager
def static_server(folder: Path):
    """Serves a folder; yields its address."""
    handler = functools.partial(Silent, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()


@contextlib.contextmanager
def browser_page(**options):
    """Yields a page of headless Chromium."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            yield browser.new_page(**options)
        finally:
            browser.close()


@pytest.fixture(scope="module")
def site(small_run, tmp_path_factory):
    """The page of small_run, a model x2."""
    folder = tmp_path_factory.mktemp("site")
    try:
        runtime = download_runtime(folder)
    except UserError as error:
        pytest.skip(str(error))
    options = ("--model", small_run, "--runtime", runtime)
    result = run_tool("make_browser_page.py", folder / "page", *options)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"written: {folder / 'page'} (")
    return folder / "page"


@pytest.fixture(scope="module")
def upscaled(site, tmp_path_factory):
    """What a user sees and gets: the images of the page, what it requested, and errors."""
    folder = tmp_path_factory.mktemp("upscaled")
    Image.fromarray(noise_image(SIZE[1], SIZE[0])).save(folder / "noise.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff no image")
    seen = {"requests": [], "errors": [], "folder": folder}
    viewport = {"width": 390, "height": 800}
    with static_server(site) as address, browser_page(viewport=viewport) as page:
        page.on("request", lambda request: seen["requests"].append(request.url))
        page.on("pageerror", lambda error: seen["errors"].append(str(error)))
        page.on("console", lambda line: line.type == "error" and seen["errors"].append(line.text))
        page.goto(address)
        page.set_input_files("#file", folder / "broken.jpg")
        page.wait_for_function("document.querySelector('#message').textContent.length > 0")
        seen["broken"] = page.text_content("#message")
        page.set_input_files("#file", folder / "noise.png")
        page.wait_for_selector("#download[href]", timeout=60_000)
        with page.expect_download() as download:
            page.click("#download")
        download.value.save_as(folder / "result.png")
        seen["name"] = download.value.suggested_filename
        seen["summary"] = page.text_content("#summary")
        seen["widths"] = page.evaluate("[document.body.scrollWidth, innerWidth]")
        seen["overlays"] = [overlay(page, *levels) for levels in ((0, 256), (100, 256), (0, 1))]
        seen["clips"] = [clip(page, position) for position in (0, 100)]
        seen["address"] = address
    return seen


def overlay(page, opacity: int, level: int) -> np.ndarray:
    """Returns the map over the image, RGBA, with the sliders at the given positions."""
    for name, value in (("opacity", opacity), ("level", level)):
        page.fill(f"#{name}", str(value))
    page.evaluate("new Promise(requestAnimationFrame)")
    size = page.evaluate("[theta.height, theta.width]")
    code = "Array.from(theta.getContext('2d').getImageData(0, 0, theta.width, theta.height).data)"
    return np.array(page.evaluate(code), np.uint8).reshape(*size, 4)


def clip(page, position: int) -> str:
    page.fill("#position", str(position))
    return page.evaluate("getComputedStyle(before).clipPath")


def expected(site, folder):
    """Returns sr and theta of ONNX Runtime for the whole image."""
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(site / "model.onnx")
    lr = np.asarray(Image.open(folder / "noise.png"), np.float32)[None]
    return [maps[0] for maps in session.run(["sr", "theta"], {"lr": lr})]


@pytest.mark.slow
def test_the_result_is_that_of_onnx_runtime(site, upscaled):
    sr, theta = expected(site, upscaled["folder"])
    image = np.asarray(Image.open(upscaled["folder"] / "result.png"))
    assert image.shape == (48, 300, 3)
    difference = np.abs(image - np.clip(np.floor(sr + 0.5), 0, 255))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.001
    assert upscaled["name"] == "noise_x2.png"
    psnr = 10 * np.log10(255**2 / np.mean(2 * theta.astype(np.float64) ** 2))
    assert f"Predicted PSNR: {psnr:.1f} dB" in upscaled["summary"]


@pytest.mark.slow
def test_nothing_is_requested_elsewhere_and_nothing_is_sent(upscaled):
    found = set(upscaled["requests"])
    assert all(url.startswith((upscaled["address"], "blob:", "data:")) for url in found), found
    assert f"{upscaled['address']}model.onnx" in found
    assert upscaled["errors"] == []


@pytest.mark.slow
def test_the_controls_change_what_is_shown(site, upscaled):
    off, colored, level = upscaled["overlays"]
    assert off.max() == 0  # transparent
    assert (colored[..., 3] == 255).all()
    theta = expected(site, upscaled["folder"])[1].mean(axis=-1)
    facts = json.loads((site / "model.json").read_text())
    hidden = 2 * facts["factor"] * theta > 1  # grey levels
    differs = (level[..., 3] == 255) != hidden
    assert differs.mean() < 0.001  # rounding at the level
    assert upscaled["clips"] == ["inset(0px 100% 0px 0px)", "inset(0px 0% 0px 0px)"]
    order = np.argsort(theta, axis=None)
    brightness = colored[..., :3].sum(axis=-1).ravel()[order]
    assert brightness[:100].mean() < brightness[-100:].mean()


@pytest.mark.slow
def test_the_page_fits_a_phone_and_names_a_broken_file(upscaled):
    assert upscaled["widths"][0] <= 390
    assert upscaled["broken"].startswith("broken.jpg: not an image that this browser can read")


@pytest.mark.slow
def test_the_folder_is_below_15_mb(site):
    total = sum(path.stat().st_size for path in site.iterdir())
    assert total < 6e6
    assert not list(site.glob("*.wasm"))  # packed, see worker.js


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"calibrated": False}, "has no calibrated theta"),
        ({"channels": 4}, "its images have 4 channels, but the page shows RGB only"),
        ({"value_range": (0.0, 1.0)}, r"measurements with the value range \[0\.0, 1\.0\]"),
    ],
)
def test_a_model_that_the_page_cannot_show_is_not_exported(options, message, tmp_path, monkeypatch):
    monkeypatch.setattr("udl_tf.export.onnx.export_onnx", None)
    run = make_run(
        tmp_path / "run", "edsr_s", 2, light=True, num_blocks=1, num_filters=4, **options
    )
    with pytest.raises(UserError, match=message):
        make_browser_page(run, tmp_path, tmp_path / "page")


def test_an_output_that_exists_is_kept(tmp_path):
    result = run_tool("make_browser_page.py", tmp_path, "--runtime", tmp_path)
    assert_one_line_error(result, f"{tmp_path}: already exists")
