"""The page in a browser."""

import io
import re
import time
from concurrent.futures import CancelledError

import numpy as np
import pytest
from helpers.commands import run_command
from helpers.images import declared_png, noise_image
from helpers.web import FACTOR, serving, theta_of
from PIL import Image
from PIL.ExifTags import GPS, IFD

from udl_tf.web import Studio

pytestmark = pytest.mark.slow


def write_image(path, height=8, width=12):
    Image.fromarray(noise_image(height, width)).save(path)
    return path


def choose(page, path):
    """Uploads a file."""
    page.set_input_files("#file input[type=file]", path)


def start(page, path):
    choose(page, path)
    page.wait_for_selector("#start:enabled")
    page.click("#start")


def upscale(page, path):
    """Uploads an image and waits for its result."""
    start(page, path)
    page.wait_for_selector("#summary p")
    page.wait_for_selector("#slider img")


def text(page, place: str) -> str:
    return page.inner_text(place)


def wait_for_text(page, place: str, pattern: str) -> str:
    """Waits until a text contains the pattern, and returns it."""
    for _ in range(200):
        if re.search(pattern, text(page, place)):
            return text(page, place)
        time.sleep(0.05)
    raise AssertionError(f"{place}: {text(page, place)!r} does not contain {pattern!r}")


def download(page, name: str) -> tuple[str, bytes]:
    """Returns name and content of a file that is downloaded."""
    with page.expect_download() as found:
        page.click(f"#{name}")
    path = found.value.path()
    return found.value.suggested_filename, path.read_bytes()


def pixels(page, place: str) -> np.ndarray:
    """Returns the image that is shown at a place, once it is loaded."""
    url = page.locator(f"{place} img").first.get_attribute("src")
    response = page.request.get(url)
    return np.asarray(Image.open(io.BytesIO(response.body())))


def test_an_image_is_upscaled_and_its_pixels_explained(visit, tmp_path):
    page = visit()
    assert page.is_disabled("#start")
    assert "At most 40 megapixels" in text(page, "#facts")
    choose(page, write_image(tmp_path / "a.png"))
    wait_for_text(page, "#facts", "12 × 8 pixels; the result will have 24 × 16")
    page.click("#start")
    page.wait_for_selector("#slider img")
    theta = theta_of(noise_image(8, 12).astype(float))
    summary = wait_for_text(page, "#summary", "24 × 16 pixels, upscaled in")
    assert f"Mean θ is {theta.mean():.1f} grey levels" in summary
    assert f"9 of 10 pixels are within {FACTOR:.1f} θ" in summary
    assert "Predicted PSNR: " in summary
    value = noise_image(8, 12)[4, 6]
    low, high = value - FACTOR * theta[4, 6], value + FACTOR * theta[4, 6]
    page.fill("#column input", "12")
    page.fill("#row input", "9")
    found = wait_for_text(page, "#pixel", "column 12, row 9")
    for a, b, c in zip(value, low, high, strict=True):
        assert re.search(rf"{a}\s+{max(0, b):.0f} to {min(255, c):.0f}\s+{c - b:.0f}", found)
    _move_the_sliders(page)


def _move_the_sliders(page):
    page.get_by_role("tab", name="Uncertainty").click()
    page.wait_for_selector("#map img")
    colored = pixels(page, "#map")
    page.fill("#opacity input[type=number]", "0")
    page.keyboard.press("Enter")
    page.wait_for_timeout(600)
    plain = pixels(page, "#map").astype(int)
    repeated = noise_image(8, 12).repeat(2, 0).repeat(2, 1)
    assert np.abs(plain - repeated).mean() < 4  # a JPEG of the result
    assert np.abs(plain - colored).mean() > 40
    page.get_by_role("tab", name="Reliability").click()
    width = (2 * FACTOR * theta_of(noise_image(8, 12).astype(float))).max(axis=-1)
    for limit in (20, 35):
        page.fill("#limit input[type=number]", str(limit))
        page.keyboard.press("Enter")
        share = 100 * (width > limit).mean()
        assert 0 < share < 100
        wait_for_text(page, "#greyed", f"{share:.1f} % of the pixels are greyed out")
        gray = np.ptp(pixels(page, "#reliable").astype(int), axis=-1) < 30
        wide = (width > limit).repeat(2, 0).repeat(2, 1)
        assert (gray == wide).mean() > 0.85  # JPEG, and some noise is grey itself
    image = page.locator("#reliable img").first
    box = image.bounding_box()
    image.click(position={"x": box["width"] * 3.5 / 24, "y": box["height"] * 5.5 / 16})
    wait_for_text(page, "#pixel", "column 3, row 5")
    assert page.input_value("#column input") == "3"


def test_downloads_equal_the_files_of_the_command(visit, tmp_path, transparent_run):
    """To the bit, with metadata; the page itself shows nothing of the place in the EXIF data."""
    file = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif.get_ifd(IFD.GPSInfo)[GPS.GPSLatitudeRef] = "N"
    exif.get_ifd(IFD.GPSInfo)[GPS.GPSLatitude] = (47.0, 33.0, 12.0)
    Image.fromarray(noise_image(10, 14)).save(file, exif=exif, quality=90)
    for form in ("png", "tiff"):
        command = "--model", transparent_run, "--uncertainty", form, "--output", tmp_path / form
        assert run_command("upscale", file, *command).returncode == 0
    with serving(Studio(str(transparent_run))) as address:
        page = visit(address)
        upscale(page, file)
        files = dict(download(page, f"download_{name}") for name in ("image", "map", "theta"))
        assert set(files) == {"photo.jpg", "photo_theta.png", "photo_theta.tiff"}
        for name, content in files.items():
            folder = tmp_path / ("tiff" if name.endswith("tiff") else "png")
            assert content == (folder / name).read_bytes(), name
        assert "not calibrated" in text(page, "#summary")
        page.get_by_role("tab", name="Reliability").click()
        wait_for_text(page, "#greyed", "There are no intervals")
        assert b"GPS" not in page.content().encode()
        shown = page.request.get(page.locator("#slider img").first.get_attribute("src"))
        assert not Image.open(io.BytesIO(shown.body())).getexif()
    assert Image.open(io.BytesIO(files["photo.jpg"])).getexif().get_ifd(IFD.GPSInfo)


def test_a_broken_file_is_one_friendly_line(visit, tmp_path):
    page = visit()
    good = write_image(tmp_path / "good.png", 60, 60)
    broken = tmp_path / "<b>broken.png"
    broken.write_bytes(good.read_bytes()[:900])
    choose(page, broken)
    wait_for_text(page, "#status", "cannot be decoded")
    (line,) = page.locator("#status p").all_inner_texts()  # without Gradio's transparent timer
    assert len(line.strip().splitlines()) == 1
    assert "/" not in line
    assert page.is_disabled("#start")
    page.reload()
    page.wait_for_selector("#start")
    large = tmp_path / "large.png"
    large.write_bytes(declared_png(8200, 5000))
    choose(page, large)
    wait_for_text(page, "#status", "41.0 megapixels; this page accepts at most 40: crop")


@pytest.fixture
def tasks(studio, monkeypatch):
    """Tasks started by visitors, in order."""
    tasks, begin = [], studio.start
    monkeypatch.setattr(studio, "start", lambda *inputs: tasks.append(begin(*inputs)) or tasks[-1])
    return tasks


def test_two_visitors_take_turns(visit, tasks, upscaler, tmp_path):
    """The second one waits until the first one cancels."""
    first, second = visit(), visit()
    upscaler.gate.clear()
    try:
        start(first, write_image(tmp_path / "a.png", 40, 8))
        wait_for_text(first, "#status", r"Upscaling: \d+ %")
        start(second, write_image(tmp_path / "b.png"))
        wait_for_text(second, "#status", "Waiting: 1 image is before yours")
        first.click("#cancel")
        assert tasks[0]._stop.wait(20)  # before the image is complete
    finally:
        upscaler.gate.set()
    wait_for_text(first, "#status", "Cancelled")
    second.wait_for_selector("#summary p")
    assert first.is_enabled("#start")
    assert not first.is_visible("#summary")


def test_a_visitor_who_leaves_stops_the_work(visit, tasks, upscaler, tmp_path):
    page = visit()
    upscaler.gate.clear()
    try:
        start(page, write_image(tmp_path / "a.png", 400, 8))
        wait_for_text(page, "#status", r"Upscaling: \d+ %")
        page.close()
        assert tasks[0]._stop.wait(20)
    finally:
        upscaler.gate.set()
    with pytest.raises(CancelledError):
        tasks[0].future.result(10)


def test_the_page_fits_a_phone_in_light_and_dark(visit, tmp_path):
    page = visit(width=390)
    upscale(page, write_image(tmp_path / "a.png"))
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for name in ("Compare", "Uncertainty", "Reliability"):
        assert page.get_by_role("tab", name=name).is_visible()
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        page.reload()
        page.wait_for_selector("#start")
        color = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (max(map(int, re.findall(r"\d+", color)[:3])) < 60) == (scheme == "dark")


def test_uploads_choose_the_preset_that_suits_their_compression(visit, tmp_path):
    studio = Studio()
    try:
        with serving(studio) as address:
            page = visit(address)
            choose(page, write_image(tmp_path / "a.png"))
            wait_for_text(page, "#facts", "12 × 8 pixels")
            assert page.input_value("#model input").startswith("light_x4")
            page = visit(address)
            choose(page, write_image(tmp_path / "a.jpg"))
            wait_for_text(page, "#facts", "JPEG of quality 75: photo_x4 was trained on such images")
            assert page.input_value("#model input").startswith("photo_x4")
            page.click("#model input")
            page.click("text=light_x4 (4 ×, fast)")
            wait_for_text(page, "#facts", "light_x4 was trained on clean images")
    finally:
        studio.close()
