"""The network of docs/networks.md: trained, calibrated, evaluated and used by its own file."""

import json
import re

import pytest
from helpers.commands import ROOT, run_tool
from helpers.runs import tiny_config

from udl_tf.models import BACKBONES


@pytest.mark.slow
def test_the_documented_network_runs_end_to_end(tmp_path, monkeypatch):
    text = (ROOT / "docs/networks.md").read_text()
    (code,) = re.findall(r'```python\n("""my_network\.py""".*?)```', text, re.DOTALL)
    program = tmp_path / "my_network.py"
    program.write_text(code)
    monkeypatch.setitem(BACKBONES, "three_layers", None)  # removes what the program adds
    config = tiny_config(tmp_path)
    config["model"] = {"name": "three_layers", "scale": 2, "options": {"filters": 4}}
    config["steps"] = [
        {"loss": "esu", "updates": 2},
        {"loss": "udl", "updates": 2, "weighting": {}},
        {"loss": "esu", "train": "uncertainty_head", "updates": 2},
    ]
    (tmp_path / "c.json").write_text(json.dumps(config))
    train = ("train", "--config", tmp_path / "c.json", "--output", tmp_path / "run")
    upscale = ("upscale", tmp_path / "images/0.png", "--model", tmp_path / "run")
    for arguments in (train, (*upscale, "--output", tmp_path / "results")):
        result = run_tool(program, *arguments, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / "run/model.json").read_text())["calibration"] is not None
    assert (tmp_path / "results/0_theta.png").exists()
