"""The notebooks of the documentation, and tools/run_notebooks.py."""

import json

import pytest
from helpers.commands import assert_one_line_error, run_tool
from run_notebooks import FOLDER, STAMP, run_notebook, sources_sha256

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
NOTEBOOKS = ["uncertainty", "training", "deployment"]


def test_every_notebook_is_tested():
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == sorted(NOTEBOOKS)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_stored_outputs_are_small_and_those_of_the_code(name):
    path = FOLDER / f"{name}.ipynb"
    assert path.stat().st_size < 400_000
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata[STAMP] == sources_sha256(notebook), (
        f"{name}: the code has changed: run python tools/run_notebooks.py"
    )
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            assert output.output_type != "error"
            assert output.get("name") != "stderr", output.text


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs(name):
    pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    run_notebook(FOLDER / f"{name}.ipynb")


@pytest.mark.slow
def test_a_notebook_that_fails_stays_as_it_is(tmp_path):
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    cell = {"cell_type": "code", "metadata": {}, "source": "1 / 0", "outputs": [], "id": "a",
            "execution_count": None}  # fmt: skip
    text = json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    path = tmp_path / "fails.ipynb"
    path.write_text(text)
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="division by zero"):
        run_tool("run_notebooks.py", path)
    assert path.read_text() == text


def test_a_missing_notebook_is_one_line():
    assert_one_line_error(run_tool("run_notebooks.py", "none.ipynb"), "No such file")
