"""Bundle of the running step, in the subfolder `running` of a run folder.

Each checkpoint is followed by the bundle that the run would have if the step ended there: the same
networks, of which the running one is averaged as at the end of a step. It holds no state of the
optimizer and refers to no other folder, so that a copy of it is complete.

model.json    bundle; the last of its "steps" has "updates_done"
weights/      of its networks
metrics.json  as in the run folder, with the running step, which has "updates_done"
config.json   config of the run

Weight files are named by the updates done, and model.json is replaced last. Those of the previous
model.json stay until the next replacement, for readers that have just read it. So every model.json
that was read names complete files, also if a run is killed in between.
"""

import filecmp
import shutil
from pathlib import Path
from typing import Any

import keras

from udl_tf._support.files import complete_file
from udl_tf._support.json_files import write_json
from udl_tf.errors import UserError
from udl_tf.models import fused
from udl_tf.models.weight_files import save_weights
from udl_tf.saved.bundle import MANIFEST, Manifest, read_manifest, write_manifest
from udl_tf.training.checkpoint import Progress
from udl_tf.training.results import bundle_files, make_manifest
from udl_tf.training.run_folder import RunFolder, with_note


def write_running_bundle(
    run: RunFolder, losses: list, progress: Progress, network: keras.Model, note: dict[str, Any]
) -> None:
    """Replaces the bundle of the running step.

    Args:
        run: run folder.
        losses: losses of all steps.
        progress: progress of the step.
        network: its network, with the weights to store.
        note: its entry for metrics.json.
    """
    folder, index = run.running, progress.step
    earlier = bundle_files(run, losses, index)
    own = run.weights_name(index).replace(".weights.h5", f"-{progress.update}.weights.h5")
    notes = with_note(run.read_notes(), note)
    notes.pop("results", None)  # of the model before an extension
    manifest = make_manifest(run, losses, [*earlier, own], notes)
    manifest.training["steps"][-1]["updates_done"] = progress.update

    previous = _weight_files(folder)
    save_weights(fused(network), folder / own)
    files = _files_of(manifest)
    for name in files & set(earlier):
        source, target = run.path / name, folder / name
        if not (target.exists() and filecmp.cmp(source, target)):
            with complete_file(target) as temporary:
                shutil.copy2(source, temporary)
    write_json(folder / "config.json", run.config.model_dump())
    write_json(folder / "metrics.json", notes)
    write_manifest(folder, manifest)
    for path in (folder / "weights").rglob("*.weights.h5"):
        if path.relative_to(folder).as_posix() not in files | previous:
            path.unlink()


def delete_running_bundle(run: RunFolder) -> None:
    """Deletes the bundle of a step that has finished, of which the run folder holds the result."""
    (run.running / MANIFEST).unlink(missing_ok=True)
    # A command that reads or writes the folder must not stop the run.
    shutil.rmtree(run.running, ignore_errors=True)


def _weight_files(folder: Path) -> set[str]:
    """Returns the weight files of a bundle; none if there is none that can be read."""
    try:
        return _files_of(read_manifest(folder))
    except UserError:
        return set()


def _files_of(manifest: Manifest) -> set[str]:
    return {part.weights for part in (manifest.mean, manifest.uncertainty) if part is not None}
