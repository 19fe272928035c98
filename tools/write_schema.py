"""Writes configs/schema.json, with which editors check and complete config files.

python tools/write_schema.py [--output configs/schema.json]
"""

from pathlib import Path
from typing import Any

from udl_tf._support import command_line
from udl_tf._support.json_files import write_json
from udl_tf._support.stderr import quiet
from udl_tf.config import Config


def make_schema() -> dict[str, Any]:
    """Returns the JSON schema of a config, with the names of networks and losses as choices."""
    from udl_tf.losses import LOSSES
    from udl_tf.models import BACKBONES

    schema = Config.model_json_schema(by_alias=True)
    schema["title"] = "udl_tf config"
    definitions = schema["$defs"]
    definitions["ModelConfig"]["properties"]["name"]["enum"] = sorted(BACKBONES)
    definitions["StepConfig"]["properties"]["loss"]["enum"] = sorted(LOSSES)
    return schema


def main(arguments: list[str] | None = None) -> None:
    parser = command_line.make_parser("python tools/write_schema.py", __doc__)
    default = Path(__file__).parent.parent / "configs" / "schema.json"
    parser.add_argument("--output", type=Path, default=default, help=f"default: {default.name}")
    options = parser.parse_args(arguments)
    with quiet():
        schema = make_schema()
    write_json(options.output, schema)
    print(f"written: {options.output}")


if __name__ == "__main__":
    command_line.run(main)
