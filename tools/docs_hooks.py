"""Hooks of mkdocs: pages that are generated during the build, and links that leave docs/.

README.md, CHANGELOG.md, CONTRIBUTING.md and the notebooks become pages, and each preset and each
public room of the package gets one. Any other file or folder of the repository that a page links to
becomes a page with its text, so that the site is complete without the repository.

Throughout, a path is relative to the repository, and an address is that of a page's Markdown
source relative to docs/.
"""

import base64
import posixpath
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbconvert import MarkdownExporter

from udl_tf.hub import presets
from udl_tf.presets import card

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "docs/notebooks"
_ROOT_PAGES = {  # address of a path
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
_TEXT = {".cff", ".config", ".json", ".py", ".sh", ".slurm", ".yaml", ".yml"}
_RELATIVE_LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")  # its target, without the anchor


def on_config(config: MkDocsConfig) -> None:
    """Replaces the folders in `nav` by the pages that are generated for them."""
    folders = {"api/": list(api_pages()), "models/": ["presets.md", *model_pages()]}
    for section in config.nav or []:
        for title, content in section.items():
            if isinstance(content, str):
                section[title] = folders.get(content, content)


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Adds the pages that are not files of docs/."""
    pages = api_pages() | model_pages() | notebook_pages()
    pages |= {address: (ROOT / path).read_text() for path, address in _ROOT_PAGES.items()}
    for file in [*(ROOT / "docs").rglob("*.md"), *(ROOT / path for path in _ROOT_PAGES)]:
        for target in _linked(file):
            if address_of(target).startswith("source/"):
                pages[address_of(target)] = _source_page(target)
    for address, text in pages.items():
        files.append(File.generated(config, address, content=text))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrites relative links, which lead through the repository, to lead through the site.

    Pages outside sections, which are alone in the navigation beside the text, omit it.
    """
    if page.parent is None:
        page.meta.setdefault("hide", ["navigation"])
    address = page.file.src_uri
    if address.startswith(("api/", "models/", "notebooks/", "source/")):  # generated
        return markdown
    paths = {address: path for path, address in _ROOT_PAGES.items()}
    folder = posixpath.dirname(paths.get(address, f"docs/{address}"))

    def through_site(link: re.Match) -> str:
        target = posixpath.normpath(posixpath.join(folder, link[1]))
        return posixpath.relpath(address_of(target), posixpath.dirname(address) or ".")

    return _RELATIVE_LINK.sub(through_site, markdown)


def address_of(path: str) -> str:
    """Returns the address of the page or file of docs/ that shows a file of the repository."""
    place = Path(path).with_suffix("")
    if path.startswith("docs/"):
        return path.removeprefix("docs/").replace(".ipynb", ".md")
    if place.parent.name == "udl_tf" and place.name in _public_rooms():
        return f"api/{place.name}.md"
    return _ROOT_PAGES.get(path) or f"source/{path.lstrip('.')}.md"  # mkdocs omits hidden files


def api_pages() -> dict[str, str]:
    """Returns the API page of the package and of each public room, by their addresses."""
    pages = {"api/index.md": "# udl_tf\n\n::: udl_tf\n"}
    for room in _public_rooms():
        pages[f"api/{room}.md"] = f"# udl_tf.{room}\n\n::: udl_tf.{room}\n"
    return pages


def model_pages() -> dict[str, str]:
    """Returns the model card of each preset, by its address."""
    return {f"models/{name}.md": _model_card(name) for name in presets.names()}


@cache
def _public_rooms() -> list[str]:
    """Returns the rooms with an `__all__`, and the modules that the package's own one names."""
    package = griffe.load("udl_tf", search_paths=[str(ROOT)])
    return sorted(
        name
        for name, module in package.modules.items()
        if module.exports or name in (package.exports or ())
    )


def _model_card(name: str) -> str:
    return (
        f"{card(name)}\n[The home page](../index.md#quality) has the protocol,"
        " [Presets](../presets.md) a comparison of all presets, and [the gallery](../gallery.md)"
        " images.\n"
    )


def notebook_pages() -> dict[str, str]:
    """Returns a page with the code and stored outputs of each notebook, by its address."""
    return {
        f"notebooks/{file.stem}.md": _notebook(file) for file in sorted(NOTEBOOKS.glob("*.ipynb"))
    }


def _notebook(file: Path) -> str:
    text, resources = MarkdownExporter().from_filename(str(file))
    for name, content in resources["outputs"].items():
        kind = Path(name).suffix.removeprefix(".")
        data = base64.b64encode(content).decode()
        text = text.replace(f"({name})", f"(data:image/{kind};base64,{data})")
    source = f"docs/notebooks/{file.name}"
    return f"{text}\n[This notebook]({file.name}) is `{source}` in the repository.\n"


def _linked(file: Path) -> Iterator[str]:
    """Yields the paths to which a Markdown file links."""
    folder = file.parent.relative_to(ROOT).as_posix()
    for target in _RELATIVE_LINK.findall(file.read_text()):
        yield posixpath.normpath(posixpath.join(folder, target))


def _source_page(path: str) -> str:
    """Returns a page with the text of a file, or of all files of a folder."""
    place = ROOT / path
    if place.suffix == ".md":
        return place.read_text()
    text = f"---\nsearch: {{exclude: true}}\n---\n\n# {path}\n\n"
    for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
        if file.suffix in _TEXT:
            title = "" if file == place else f"## {file.relative_to(place)}\n\n"
            text += f"{title}````{file.suffix[1:]}\n{file.read_text()}````\n\n"
    return text
