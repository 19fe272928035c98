"""Builds a static page that upscales images in the browser, without sending them anywhere.

python tools/make_browser_page.py OUTPUT [--model light_x4] [--runtime FOLDER]

Any static web server can publish OUTPUT; python -m http.server --directory OUTPUT tries it out.
The page runs the trained model's ONNX file with ONNX Runtime Web, which npm downloads.
"""

import gzip
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import numpy as np

from udl_tf._support import command_line
from udl_tf._support.files import complete_folder
from udl_tf._support.json_files import write_json
from udl_tf._support.stderr import quiet
from udl_tf.errors import UserError

TEMPLATE = Path(__file__).parent / "browser_page"
PACKAGE = "onnxruntime-web@1.30.0"
SCRIPT, BINARY = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"  # of its folder dist


def make_browser_page(model: Path | str, runtime: Path, output: Path) -> float:
    """Writes the page; returns its size in MB.

    Args:
        model: a preset or run folder with calibrated theta.
        runtime: the folder dist of onnxruntime-web.
        output: new folder.

    Raises:
        UserError: if the output already exists, or the model has no calibrated theta or is not of
            RGB images.
    """
    from udl_tf.export.onnx import export_onnx
    from udl_tf.imaging.theta_map import MAP_TOP, colorize
    from udl_tf.web.studio import load_rgb

    if output.exists():
        raise UserError(f"{output}: already exists: delete it first")
    calibration = load_rgb(str(model)).calibration
    if calibration is None:
        raise UserError(f"{model}: has no calibrated theta: run udl-tf calibrate on it first")
    with complete_folder(output) as folder:
        card = export_onnx(model, folder / "model.onnx")
        for file in TEMPLATE.iterdir():
            shutil.copy(file, folder)
        shutil.copy(runtime / SCRIPT, folder)
        binary = (runtime / BINARY).read_bytes()
        (folder / "runtime.bin").write_bytes(gzip.compress(binary, mtime=0))
        facts = card.model_dump(include={"name", "scale", "margin", "align", "limits", "licence"})
        # Half the width of 90 % intervals, in theta.
        facts["factor"] = float(calibration.quantile(0.9).mean())
        facts["top"] = MAP_TOP
        facts["colors"] = colorize(np.linspace(0, 1, 256)[None], 1.0)[0].tolist()
        write_json(folder / "model.json", facts)
        return sum(file.stat().st_size for file in folder.iterdir()) / 1e6


def download_runtime(folder: Path) -> Path:
    """Downloads onnxruntime-web into a folder with npm, and extracts what the page needs.

    Returns:
        The folder of SCRIPT and BINARY.

    Raises:
        UserError: if npm is missing or fails.
    """
    remedy = f"install npm, or unpack {PACKAGE} and pass its folder dist as --runtime"
    try:
        command = ["npm", "pack", "--silent", "--prefer-offline", PACKAGE]
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    except OSError:
        raise UserError(f"npm: not found: {remedy}") from None
    except subprocess.CalledProcessError as error:
        reason = " ".join(error.stderr.split())
        raise UserError(f"npm pack {PACKAGE}: failed ({reason}): {remedy}") from None
    with tarfile.open(folder / result.stdout.strip()) as package:
        for name in (SCRIPT, BINARY):
            source = package.extractfile(f"package/dist/{name}")
            assert source is not None  # a regular file
            (folder / name).write_bytes(source.read())
    return folder


def main(arguments: list[str] | None = None) -> None:
    parser = command_line.make_parser("python tools/make_browser_page.py", __doc__)
    parser.add_argument("output", type=Path, help="new folder")
    parser.add_argument("--model", default="light_x4", help=command_line.RUN_HELP)
    parser.add_argument("--runtime", type=Path, help="folder dist of onnxruntime-web")
    options = parser.parse_args(arguments)

    with tempfile.TemporaryDirectory() as temporary, quiet():
        runtime = options.runtime or download_runtime(Path(temporary))
        size = make_browser_page(options.model, runtime, options.output)
    print(f"written: {options.output} ({size:.1f} MB)")


if __name__ == "__main__":
    command_line.run(main)
