"""A page that is served, and a browser that visits it."""

import shutil
from urllib.parse import urlsplit

import pytest
from helpers.web import Gated, serving, studio_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def chromium():
    """The system's Chromium, driven by Playwright."""
    playwright = pytest.importorskip("playwright.sync_api")
    pytest.importorskip("gradio")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def upscaler():
    """The upscaler of the page: its gate holds images back."""
    return Gated(2)


@pytest.fixture(scope="module")
def studio(upscaler):
    with studio_of(upscaler) as studio:
        yield studio


@pytest.fixture(scope="module")
def address(studio, chromium):
    with serving(studio) as address:
        yield address


@pytest.fixture
def visit(chromium, address):
    """Opens the page in a browser window of its own; fails if it asked another host."""
    contexts, foreign = [], []

    def watch(request):
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and parts.hostname != "127.0.0.1":
            foreign.append(request.url)

    def open_page(url=address, width=1280, **options):
        context = chromium.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        context.on("request", watch)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.goto(url)
        page.wait_for_selector("#start")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not foreign
