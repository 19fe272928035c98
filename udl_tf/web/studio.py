"""What all visitors of the page share: trained models, the queue, and the folders of results."""

import threading
from functools import partial
from pathlib import Path

from udl_tf._support.progress import Progress
from udl_tf.errors import UserError
from udl_tf.hub import presets
from udl_tf.inference.upscaler import Upscaler, check_takes_images
from udl_tf.saved.bundle import read_manifest
from udl_tf.saved.loading import load_upscaler
from udl_tf.web.desk import Desk, Task
from udl_tf.web.folders import Folders
from udl_tf.web.uploads import Upload
from udl_tf.web.upscaling import Outcome, stored_size, upscale_upload


class Studio:
    """Trained models, the queue of images, and the folders of results.

    Args:
        model: a trained model that visitors can choose besides the presets, as for load_upscaler;
            None: the presets alone.

    Attributes:
        folders: of uploads and results.
        models: names of the models to choose from; the first one is the default.
        scales: of each model by name.

    Raises:
        UserError: if the model cannot be loaded, or its images are not RGB.
    """

    def __init__(self, model: str | None = None):
        self._given = model
        default = presets.default_preset() if model is None else model
        self.models = list(dict.fromkeys([default, *presets.names()]))
        self._loaded: dict[str, Upscaler] = {}
        if model is not None:
            self._loaded[model] = load_rgb(model)
        self.scales = {name: self._scale_of(name) for name in self.models}
        self.folders, self._desk = Folders(), Desk()
        self._tasks: dict[str, Task[Outcome]] = {}
        self._results: dict[str, Path] = {}  # folder of the latest result of each visitor
        self._lock = threading.Lock()

    def model_for(self, upload: Upload, outscale: float) -> str:
        """Returns the model that suits an upload: the given one, or else a preset."""
        return self._given or presets.default_preset(outscale, upload.compression)

    def knows_compression(self, name: str) -> bool:
        """Returns whether a model is known to be trained on compressed images."""
        try:
            training = read_manifest(name).training
        except UserError:  # an export or a server
            return False
        degradations = training.get("data", {}).get("degradations", [])
        return any(each["kind"] in ("jpeg", "webp") for each in degradations)

    def start(self, visitor: str, upload: Upload, model: str, outscale: float) -> Task[Outcome]:
        """Adds an image to the queue, instead of an earlier one of the same visitor.

        Args:
            visitor: key of the visitor.
            upload: the image.
            model: one of `models`.
            outscale: size of the result divided by that of the image.

        Raises:
            UserError: if too many images are waiting.
        """
        self.stop(visitor)
        task = self._desk.add(partial(self._upscale, visitor, upload, model, outscale))
        with self._lock:
            self._tasks[visitor] = task
        return task

    def before(self, task: Task) -> int:
        """Returns how many images are upscaled before that of a task."""
        return self._desk.before(task)

    def stop(self, visitor: str) -> None:
        """Stops the task of a visitor, if there is one."""
        with self._lock:
            task = self._tasks.pop(visitor, None)
        if task is not None:
            task.stop()

    def close(self) -> None:
        """Stops all tasks and removes all files."""
        self._desk.close()
        self.folders.close()

    def _scale_of(self, name: str) -> int:
        if name in self._loaded:
            return self._loaded[name].scale
        return read_manifest(name).architecture.scale

    def _upscale(
        self, visitor: str, upload: Upload, model: str, outscale: float, progress: Progress
    ) -> Outcome:
        """Replaces the result of a visitor; runs in the thread of the queue, and therefore alone.

        The page shows the earlier result until then.
        """
        if model not in self._loaded:
            progress(0, 1, "Loading the model")
            self._loaded[model] = load_upscaler(model)
        folder = self.folders.new(stored_size(upload, outscale))
        try:
            outcome = upscale_upload(self._loaded[model], upload, outscale, folder, progress)
        except BaseException:  # also if the visitor stopped it
            self.folders.remove(folder)
            raise
        if visitor in self._results:
            self.folders.remove(self._results[visitor])
        self._results[visitor] = folder
        return outcome


def load_rgb(name: str) -> Upscaler:
    """Loads a model of RGB images.

    Raises:
        UserError: if it cannot be loaded, or its images have other channels or are measurements.
    """
    model = load_upscaler(name)
    if model.channels != 3:
        raise UserError(
            f"{name}: its images have {model.channels} channels, but the page shows RGB only:"
            " choose a model of 3 channels, or run udl-tf upscale",
            argument="model",
        )
    check_takes_images(model, name)
    return model
