"""Lists the configs that come with the package, or prints one of them.

udl-tf configs [NAME]
"""

from udl_tf._support import command_line
from udl_tf._support.config_file import config_names, find_config, load_config
from udl_tf._support.tables import markdown_table


def main(arguments: list[str] | None = None) -> None:
    parser = command_line.make_parser("udl-tf configs", __doc__)
    parser.add_argument("name", nargs="?", help="config to print")
    options = parser.parse_args(arguments)
    if options.name is not None:
        print(find_config(options.name).read_text(encoding="utf-8"), end="")
        return
    rows = [["config", "network", "steps", "batch"]]
    for name in config_names():
        config = load_config(name)
        steps = ", ".join(f"{step.loss} {step.updates:,}" for step in config.steps)
        batch = f"{config.data.batch_size} patches of {config.data.hr_patch_size}"
        rows.append([name, f"{config.model.name} x{config.model.scale}", steps, batch])
    print(markdown_table(rows), end="")


if __name__ == "__main__":
    command_line.run(main)
