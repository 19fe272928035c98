"""The guides of docs/science.md: their commands and programs, at tiny size, one after another."""

import contextlib
import json
import re
import shlex
from pathlib import Path

import pytest
from helpers.commands import ROOT, run_command
from make_science_figures import FIGURES, draw

PAGE = (ROOT / "docs/science.md").read_text(encoding="utf-8")
GUIDES = {"satellite": "rasterio", "microscopy": "zarr", "elevation": "numpy"}  # what they need
SMALL_CONFIG = (
    *("model.options.num_blocks=1", "model.options.num_filters=4", "data.batch_size=2"),
    *("data.hr_patch_size=16", "data.validation_images=1", "training.interval=4"),
    *(f"steps.{step}.updates=4" for step in range(3)),
    *("training.precision=float32", "evaluation.figures=0", "optimizer.name=adam"),
)
SMALL_IMAGES = ("--count", "5", "--size", "32")


def guide(name: str) -> list[tuple[str, str]]:
    """Returns the blocks (language, code) of a guide."""
    (section,) = re.findall(rf"^## Guide: {name}\b.*?(?=^## |\Z)", PAGE, re.M | re.S)
    return re.findall(r"```(bash|python)\n(.*?)```", section, re.S)


def run_smaller(line: str, folder: Path) -> str:
    """Runs a command of the page at tiny size, in a folder; returns what it printed."""
    program, command, *arguments = shlex.split(line, comments=True)
    assert program == "udl-tf", line
    if "--config" in arguments:
        arguments += [part for value in SMALL_CONFIG for part in ("--set", value)]
    if "synthetic" in arguments:
        arguments += SMALL_IMAGES
    if command == "calibrate":
        arguments.append("--no-baselines")
    result = run_command(command, *arguments, cwd=folder)
    assert result.returncode == 0, f"{line}: {result.stderr}"
    return result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_runs_as_it_is_printed(name, tmp_path, monkeypatch, capsys):
    pytest.importorskip(GUIDES[name])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    printed = ""
    for language, code in guide(name):
        if language == "python":
            with contextlib.chdir(tmp_path):
                exec(compile(code, f"{name} of docs/science.md", "exec"), {})
            printed += capsys.readouterr().out
            continue
        for line in code.replace("\\\n", " ").splitlines():
            if line.startswith("udl-tf"):
                printed += run_smaller(line, tmp_path)
    assert "1 of 1 images upscaled" in printed
    assert "of the true values are inside" in printed
    manifest = json.loads((tmp_path / f"runs/science/{name}_x2/model.json").read_text())
    assert manifest["calibration"] is not None
    drawn = draw(tmp_path, name, FIGURES[name]._replace(corner=(0, 0)))
    assert drawn.shape[0] > 2 * 112
    assert drawn.std() > 20


def test_every_guide_is_tested_and_has_a_small_figure():
    assert re.findall(r"^## Guide: (\w+)", PAGE, re.M) == list(GUIDES) == list(FIGURES)
    for name in GUIDES:
        assert f"](science_{name}.webp)" in PAGE
        assert (ROOT / f"docs/science_{name}.webp").stat().st_size < 60_000
