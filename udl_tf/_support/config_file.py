"""Config files: names of shipped configs, overrides, and errors that name file and key."""

from pathlib import Path
from typing import Any

from udl_tf._support.json_files import parse_model, read_json
from udl_tf._support.strict_json import parse_strictly
from udl_tf.config import Config
from udl_tf.errors import UserError, nearest

_INSTALLED = Path(__file__).parent.parent / "configs"
_IN_CLONE = Path(__file__).parent.parent.parent / "configs"
CONFIGS = _INSTALLED if _INSTALLED.is_dir() else _IN_CLONE
"""Folder of the configs that come with the package."""


def config_names() -> list[str]:
    """Returns the names of the shipped configs: their paths relative to CONFIGS, without suffix."""
    files = (path for path in CONFIGS.rglob("*.json") if path != CONFIGS / "schema.json")
    return sorted(path.relative_to(CONFIGS).with_suffix("").as_posix() for path in files)


def find_config(name: Path | str) -> Path:
    """Returns the file of a config, given as a path or as the name of a shipped one.

    Raises:
        UserError: if it is neither, naming the nearest shipped config.
    """
    if Path(name).is_file() or Path(name).suffix == ".json":
        return Path(name)
    if str(name) not in config_names():
        raise UserError(
            f"{name}: no such file, and not a shipped config; {nearest(str(name), config_names())}"
        )
    return CONFIGS / f"{name}.json"


def config_name(path: Path) -> str:
    """Returns the name of a config, which is the default name of its run folder.

    The name of a shipped config is its path relative to CONFIGS, so that no two share a folder.
    """
    for folder in (CONFIGS, _IN_CLONE):
        if path.resolve().is_relative_to(folder.resolve()):
            return path.resolve().relative_to(folder.resolve()).with_suffix("").as_posix()
    return path.stem


def load_config(
    path: Path | str, overrides: list[str] | None = None, quick: bool = False
) -> Config:
    """Reads a JSON config and applies `key.subkey=value` overrides.

    Args:
        path: the JSON file, or the name of a shipped config, such as "dpdnn_x3".
        overrides: such as "optimizer.learning_rate=2e-4" or "steps.0.updates=100"; values are read
            as JSON, or as plain text where they are not JSON.
        quick: whether to return a rehearsal of the run; overrides take precedence.

    Raises:
        UserError: naming the file, the key and the nearest known key.
    """
    path = find_config(path)
    try:
        content = read_json(path)
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror}; expected a JSON config file or the name of a shipped config"
        ) from None
    for override in overrides or []:
        _apply(content, override)
    config = parse_model(content, Config, path)
    if not quick:
        return config
    content = rehearsal(config).model_dump()
    for override in overrides or []:
        _apply(content, override)
    return parse_model(content, Config, path)


def rehearsal(config: Config) -> Config:
    """Returns the run on the bundled images with few updates and small images.

    Measurements have no bundled images: such a run keeps its own.
    """
    quick, bundled = config.quick, ["bundled"]
    data = config.data
    if not config.measured:
        data = data.changed(root=None, train=bundled, test=bundled)
    data = data.changed(
        hr_patch_size=quick.lr_patch_size * config.model.scale,
        batch_size=quick.batch_size,
        validation_images=quick.validation_images,
    )
    few = max(1, quick.updates // 10)
    return config.changed(
        data=data,
        optimizer=config.optimizer.changed(warmup=min(config.optimizer.warmup, few)),
        evaluation=config.evaluation.changed(crop=quick.crop),
        steps=[step.changed(updates=quick.updates) for step in config.steps],
        training=config.training.changed(interval=quick.updates, log_every=few),
    )


def _apply(content: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UserError(
            f"override {override!r}: expected KEY=VALUE, such as data.batch_size=16",
            argument="overrides",
        )
    try:
        value = parse_strictly(text)
    except ValueError:
        value = text
    try:
        _put(content, key.split("."), value, Config().model_dump())
    except LookupError as error:
        raise UserError(f"override {override!r}: {error}", argument="overrides") from None


def _put(place: Any, keys: list[str], value: Any, default: Any, above: str = "config") -> None:
    """Sets place[keys[0]][keys[1]]...; sections that the file omits start from their defaults."""
    key: Any = keys[0]
    if isinstance(place, list):
        if not key.isdecimal() or int(key) >= len(place):
            last = f"0 to {len(place) - 1}" if len(place) > 1 else "0"
            entries = f"{len(place)} entries" if len(place) > 1 else "1 entry"
            raise LookupError(f"{above} has {entries} ({last}), got {key}")
        key = int(key)
    elif not isinstance(place, dict):
        raise LookupError(f"{above} is a value and has no key {key}")
    if len(keys) == 1:
        place[key] = value
        return
    default = default.get(key, {}) if isinstance(default, dict) else {}
    if isinstance(place, dict):
        place.setdefault(key, default)
    _put(
        place[key],
        keys[1:],
        value,
        default,
        ".".join(filter(None, [above, str(key)])).removeprefix("config."),
    )
