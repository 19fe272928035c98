"""What a run trains on, watches and is judged on."""

import hashlib
from dataclasses import dataclass
from typing import Any

from udl_tf.config import Config
from udl_tf.data.sources import Dataset, find_datasets, large_enough, split_validation
from udl_tf.data.store import ImageStore, cache_folder
from udl_tf.evaluation.protocol import check_size


@dataclass(frozen=True)
class RunData:
    """What a run trains on, watches and is judged on; `summary` goes into metrics and bundle."""

    training: ImageStore
    held_out: ImageStore
    test: list[Dataset]
    summary: dict[str, Any]

    @property
    def digest(self) -> str:
        """Tells training images apart: a checksum of their names and sizes, in order."""
        names = [(source.hr.name, *source.size) for source in self.training.sources]
        return hashlib.sha256(repr(names).encode()).hexdigest()


def load_data(config: Config) -> RunData:
    """Finds, splits and decodes what a config names.

    Raises:
        UserError: for a missing, damaged or unfit image or dataset.
    """
    scale, seed = config.model.scale, config.training.seed
    sets = find_datasets(config.data, "train", scale)
    test = find_datasets(config.data, "test", scale)
    sources = [source for dataset in sets for source in dataset.sources]
    large = large_enough(sources, config.data)
    count = config.data.validation_images
    training, held_out = split_validation(sources, large, count, seed)
    cache = cache_folder(config.data)
    store = ImageStore(training, scale, config.data.memory_gb, cache)
    store.load_all()
    for source in [*held_out, *(p for dataset in test for p in dataset.sources)]:
        check_size(source, scale)
    watched = ImageStore(held_out, scale, config.data.memory_gb, cache)
    watched.load_all()
    names = {dataset.name: len(dataset.sources) for dataset in sets}
    bundled = any(dataset.bundled for dataset in sets)
    text = " + ".join(f"{name} ({count})" for name, count in names.items())
    text += f": {len(training)} images, {len(held_out)} more held out for validation"
    if len(large) < len(sources):
        text += f", {len(sources) - len(large)} smaller than a patch skipped"
    if bundled:
        text += "; these few come with the package, for rehearsals: data.root names real ones"
    summary = {"sets": names, "training": len(training), "held_out": len(held_out)}
    summary |= {"bundled": bundled, "text": text}
    return RunData(store, watched, test, summary)
