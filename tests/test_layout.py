"""The house rules that a machine can hold."""

import ast
import subprocess
import sys
from pathlib import Path

from conftest import ROOT

PACKAGE = ROOT / "udl_tf"
# A file imports only from files above it.
ORDER = [
    "errors", "files", "tables", "versions", "processes", "config", "config_file", "color",
    "resize", "image_io", "photo", "presets", "cli", "cluster",
    "data.records", "data.pack", "data.sources", "data.store", "data.pipeline", "data",
    "models.blocks", "models.folding", "models.stages", "models.uncertainty", "models.edsr",
    "models.dpdnn", "models",
    "losses", "weighting", "metrics", "distribute", "hardware",
    "calibration.laplace", "calibration.ranking", "calibration.conformal", "calibration.record",
    "calibration", "self_ensemble", "tiling", "inference", "upscaled", "upscaler", "super_resolver",
    "batched",
    "bundle", "model_card", "runtimes",
    "figures", "trust_map", "evaluation", "uncertainty_fit", "uncertainty_report", "jobs",
    "upscaling",
    "serving.transport", "serving.client", "serving.stand_in", "serving.stand_in_grpc",
    "serving.stand_in_rest", "serving", "loading", "fast", "torch_weights",
    "archive", "archive.storage", "archive.manifest", "archive.worker", "archive.job",
    "training.optimizers", "training.trainer", "training.uncertainty_cache", "training.checkpoint",
    "training.validation", "training.callbacks", "training.run_folder", "training.origin",
    "training.run_data", "training.results", "training.workers", "training.run", "training",
    "export.graph_tiling", "export.graph", "export.served_input", "export.served", "export.parity",
    "export.tflite", "export.onnx", "export.savedmodel", "export.preset", "export",
    "benchmark.machine", "benchmark.turns", "benchmark.peers", "benchmark.train",
    "benchmark.growth",
    "benchmark.workers", "benchmark.pipeline", "benchmark.upscale", "benchmark.load",
    "benchmark.exports", "benchmark.reproduce", "benchmark",
    "data.__main__", "presets.__main__", "serving.local", "batch", "calibrate", "doctor",
    "evaluate", "train", "upscale",
]  # fmt: skip


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "udl_tf":
            base = node.module.removeprefix("udl_tf").lstrip(".")
            found |= {base} if base else {alias.name for alias in node.names}
            whole = {f"{base}.{alias.name}".lstrip(".") for alias in node.names}
            found |= whole & set(ORDER)
    return found - {"training"}  # the package itself holds nothing


def test_a_file_imports_only_from_files_above_it():
    files = {module_name(p): p for p in PACKAGE.rglob("*.py") if p.parent != PACKAGE or
             p.name != "__init__.py"}  # fmt: skip
    assert set(files) == set(ORDER), "name every file in ORDER"
    for name, path in files.items():
        for used in imports(path):
            assert used in ORDER, f"{name} imports {used}"
            assert ORDER.index(used) < ORDER.index(name), f"{name} imports {used} from below"


def test_every_source_file_says_what_it_is_and_stays_readable():
    for path in [*PACKAGE.rglob("*.py"), *(ROOT / "tools").glob("*.py")]:
        text = path.read_text()
        assert ast.get_docstring(ast.parse(text)), f"{path} has no docstring"
        assert len(text.splitlines()) <= 300, f"{path} is longer than 300 lines"


def test_importing_the_package_starts_no_tensorflow_and_prints_nothing():
    code = "import sys, udl_tf; print([m for m in ('tensorflow', 'keras') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("[]\n", "")


def test_public_names_are_there():
    import udl_tf

    for name in dir(udl_tf):
        assert getattr(udl_tf, name) is not None
