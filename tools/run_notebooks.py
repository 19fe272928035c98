"""Runs the notebooks of the documentation and stores their outputs.

python tools/run_notebooks.py [NOTEBOOK ...]

Without arguments, it runs all notebooks in docs/notebooks. A notebook that fails stays as it is.
"""

import hashlib
import os
import time
from pathlib import Path
from typing import Any

from udl_tf._support import command_line
from udl_tf._support.files import write_text

FOLDER = Path(__file__).parent.parent / "docs" / "notebooks"
STAMP = "sources_sha256"  # key of the notebook's metadata


def run_notebook(path: Path) -> Any:
    """Runs all cells in a fresh kernel of this Python; returns the notebook with its outputs.

    Raises:
        OSError: if the notebook is missing.
        CellExecutionError: if a cell fails; with the traceback of the cell.
    """
    import nbformat
    from nbclient import NotebookClient

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=300, resources=place, record_timing=False).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":  # TensorFlow writes to stderr when it is imported
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata[STAMP] = sources_sha256(notebook)
    return notebook


def sources_sha256(notebook: Any) -> str:
    """Returns a checksum of the code, by which outputs of older code are recognised."""
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256("\0".join(sources).encode()).hexdigest()


def main(arguments: list[str] | None = None) -> None:
    parser = command_line.make_parser("python tools/run_notebooks.py", __doc__)
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all in docs/notebooks")
    options = parser.parse_args(arguments)

    import nbformat

    for path in options.notebooks or sorted(FOLDER.glob("*.ipynb")):
        start = time.perf_counter()
        notebook = run_notebook(path)
        write_text(path, nbformat.writes(notebook) + "\n")
        size = path.stat().st_size / 1e3
        print(f"written: {path} ({time.perf_counter() - start:.0f} s, {size:.0f} kB)")


if __name__ == "__main__":
    command_line.run(main)
