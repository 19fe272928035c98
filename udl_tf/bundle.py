"""What a trained model is on disk and in memory.

On disk it is a folder with `model.json` and the weight files that this names:

    {"format": 1,
     "architecture": {"name": "edsr_s", "scale": 4, "options": {...}},   arguments of build_model
     "range": [0, 255],                                                  of lr and sr, RGB
     "mean": {"weights": "weights/step2-udl.weights.h5", "uncertainty": false},
     "uncertainty": {"weights": "weights/step1-esu.weights.h5", "unit": 1.0, "power": 1.0} or null,
     "training": {...}}                                                  what the steps were

`mean` makes the picture: "uncertainty" tells whether its file has an s head. `uncertainty` makes
theta = unit * exp(log_scale / power), in grey levels. A run folder is such a folder.
"""

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field, ValidationError

from udl_tf.config import ModelConfig, Section
from udl_tf.distribute import precision
from udl_tf.errors import UserError
from udl_tf.files import complete_file, write_json
from udl_tf.models import build_model, mean_part, uncertainty_part

FORMAT = 1
MANIFEST = "model.json"


class MeanFile(Section):
    """The network that makes the picture; `uncertainty` tells whether its file has an s head."""

    weights: str
    uncertainty: bool


class UncertaintyFile(Section):
    """The network that makes theta = unit * exp(log_scale / power), in grey levels."""

    weights: str
    unit: float
    power: float


class Manifest(Section):
    """The content of model.json."""

    format: int = FORMAT
    architecture: ModelConfig
    range: list[int] = Field(default=[0, 255])
    mean: MeanFile
    uncertainty: UncertaintyFile | None
    training: dict[str, Any]


@dataclass(frozen=True)
class SuperResolver:
    """A trained model: its mean network makes the picture, its uncertainty network theta.

    Attributes:
        scale: HR over LR size.
        mean: network lr -> {"sr"}.
        uncertainty: network lr -> {"log_scale"}, or None if none was trained.
        unit, power: theta = unit * exp(log_scale / power).
    """

    scale: int
    mean: keras.Model
    uncertainty: keras.Model | None
    unit: float = 1.0
    power: float = 1.0

    def predict(self, lr: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """The picture and its uncertainty, for one image as a whole.

        Args:
            lr: (h, w, 3) RGB, values 0..255, any dtype.

        Returns:
            (sr, theta): float32 (scale h, scale w, 3) in grey levels, sr neither clipped nor
            rounded, theta the Laplace scale of the error as trained; None without uncertainty.
        """
        sr = self._forward[0](lr)["sr"]
        if self.uncertainty is None:
            return sr, None
        log_scale = self._forward[1](lr)["log_scale"]
        return sr, self.unit * np.exp(log_scale / self.power)

    @cached_property
    def _forward(self) -> list[Callable]:
        return [make_forward(n) for n in (self.mean, self.uncertainty) if n is not None]


def make_forward(network: keras.Model) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """A function from one (h, w, 3) image, 0..255, to the network's outputs without batch axis.

    Under TensorFlow it is one graph for all sizes; it always uses the weights of the moment.
    """

    def call(batch):
        return network(batch, training=False)

    if keras.backend.backend() == "tensorflow":
        images = tf.TensorSpec((None, None, None, 3), tf.float32)
        call = tf.function(call, input_signature=[images]).get_concrete_function()

    def forward(image: np.ndarray) -> dict[str, np.ndarray]:
        outputs = call(keras.ops.convert_to_tensor(image[None], "float32"))
        return {name: keras.ops.convert_to_numpy(value)[0] for name, value in outputs.items()}

    return forward


def build_network(model: ModelConfig, uncertainty: bool) -> keras.Model:
    """The config's network, with or without the s head."""
    return build_model(model.name, model.scale, **{**model.options, "uncertainty": uncertainty})


def save_weights(network: keras.Model, path: Path) -> None:
    """Writes a network's weights (Keras' .weights.h5), complete or not at all."""
    with complete_file(path) as temporary:
        network.save_weights(temporary)


def load_weights(network: keras.Model, path: Path) -> None:
    """Reads what save_weights wrote.

    Raises:
        UserError: if the file is missing, damaged or of another network.
    """
    try:
        with warnings.catch_warnings():
            # Keras only warns of layers that the file lacks, and leaves them as they were.
            warnings.simplefilter("error", UserWarning)
            network.load_weights(path)
    except (OSError, ValueError, KeyError, IndexError, UserWarning) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{path}: no weights of this {network.name}: {reason}") from None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes model.json; the weight files it names must be there already."""
    write_json(folder / MANIFEST, manifest.model_dump())


def load(folder: Path | str) -> SuperResolver:
    """Loads a trained model in float32.

    Args:
        folder: a run folder.

    Raises:
        UserError: if there is no trained model, it is of a newer format, or its weights don't fit.
    """
    folder = Path(folder)
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except OSError:
        raise UserError(
            f"{folder}: holds no trained model ({MANIFEST} is missing); expected a run folder in"
            " which at least one step has ended"
        ) from None
    except ValueError as error:
        raise UserError(f"{folder / MANIFEST}: not valid JSON ({error})") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else content
        raise UserError(
            f"{folder / MANIFEST}: format {found!r}; this version reads format {FORMAT}: update"
            " udl_tf"
        )
    try:
        manifest = Manifest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise UserError(f"{folder / MANIFEST}: damaged at {key}: {first['msg']}") from None
    return _assemble(folder, manifest)


def _assemble(folder: Path, manifest: Manifest) -> SuperResolver:
    model, mean, uncertainty = manifest.architecture, manifest.mean, manifest.uncertainty
    mean_network = mean_part(_load_network(folder, model, mean.weights, mean.uncertainty))
    if uncertainty is None:
        return SuperResolver(model.scale, mean_network, None)
    s_network = uncertainty_part(_load_network(folder, model, uncertainty.weights, True))
    return SuperResolver(model.scale, mean_network, s_network, uncertainty.unit, uncertainty.power)


def _load_network(folder: Path, model: ModelConfig, weights: str, with_s: bool) -> keras.Model:
    with precision("float32"):
        network = build_network(model, with_s)
    load_weights(network, folder / weights)
    return network
