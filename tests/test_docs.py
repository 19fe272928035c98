"""The docs site: complete, without broken links, and without files from other hosts."""

import importlib
import inspect
import json
import pkgutil
import re
import subprocess
import sys
import zlib

import pytest
from helpers.commands import ROOT

import udl_tf

pytest.importorskip("mkdocs", reason="needs the extra docs")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Folder of the site, built as .ci/run does."""
    folder = tmp_path_factory.mktemp("site")
    # Not --quiet: --strict does not count warnings that are not logged.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


def public_names() -> set[str]:
    """Returns the names in the package's `__all__` and the rooms', and those of their modules."""
    rooms = [room.name for room in pkgutil.iter_modules(udl_tf.__path__) if room.ispkg]
    listed = [f"udl_tf.{name}" for name in udl_tf.__all__ if name != "__version__"]
    modules = {name for name in listed if inspect.ismodule(getattr(udl_tf, name.split(".")[1]))}
    names = set(listed) - modules
    for module in modules | {f"udl_tf.{room}" for room in rooms if not room.startswith("_")}:
        content = vars(importlib.import_module(module))
        own = [
            name
            for name, value in content.items()
            if name[0] != "_" and getattr(value, "__module__", None) == module
        ]
        names |= {f"{module}.{name}" for name in content.get("__all__", own)}
    return names


@pytest.mark.slow
def test_every_public_name_has_an_entry(site):
    *_, packed = (site / "objects.inv").read_bytes().split(b"\n", 4)
    entries = {line.split()[0] for line in zlib.decompress(packed).decode().splitlines()}
    assert {"udl_tf.load", "udl_tf.losses.ESULoss", "udl_tf.models.BACKBONES"} <= public_names()
    assert public_names() - entries == set()


@pytest.mark.slow
def test_every_page_is_in_the_navigation_and_can_be_searched(site):
    home = (site / "index.html").read_text()
    index = json.loads((site / "search/search_index.json").read_text())
    found = {document["location"] for document in index["docs"]}
    docs = ROOT / "docs"
    pages = {str(page.relative_to(docs).with_suffix(".html")) for page in docs.rglob("*.md")}
    for page in pages | {"changelog.html", "models/edsr_s_x4.html", "api/losses.html"}:
        assert f'href="{page}"' in home, f"{page}: add it to nav in mkdocs.yml"
        assert page in found


@pytest.mark.slow
def test_a_model_card_has_the_results_of_the_bundle(site):
    card = (site / "models/edsr_s_x4.html").read_text()
    for value in ("31.553", "28.429", "83.9 %", "started from edsr_s_x3"):  # metrics.json
        assert value in card


@pytest.mark.slow
def test_no_page_loads_anything_from_another_host(site):
    pages, styles = list(site.rglob("*.html")), list(site.rglob("*.css"))
    assert len(pages) > 30
    assert styles
    loading = re.compile(
        r'<(?!a\b)[^>]*\b(?:src|href)="(?:https?:)?//|url\("?(?:https?:)?//|@import'
    )
    for file in [*pages, *styles]:
        assert not loading.search(file.read_text()), file
