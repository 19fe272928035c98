"""Rules of the source code that can be checked automatically."""

import ast
import configparser
import re
import subprocess
import sys

from helpers.commands import ROOT

import udl_tf

PACKAGE = ROOT / "udl_tf"
ROOMS = [  # a room may import from itself and from the rooms before it
    *("errors", "config", "_support", "imaging", "scenes", "metrics", "losses", "weighting"),
    *(
        "models",
        "distributed",
        "uncertainty",
        "data",
        "inference",
        "hub",
        "tasks",
        "saved",
        "evaluation",
    ),
    *("training", "export", "archive", "web", "commands"),
    *("train", "evaluate", "upscale", "calibrate", "batch", "presets", "doctor", "__main__"),
]


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def imported_rooms(path) -> set[str]:
    """Returns the rooms that a file imports from, at its top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "udl_tf":
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {room_of(name) for name in names}
    return found - {"__version__"}


def test_a_room_imports_only_from_rooms_before_it():
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).with_suffix("").parts[0]
        if room == "__init__":
            continue
        assert room in ROOMS, f"{path}: add its room to ROOMS"
        for used in imported_rooms(path):
            assert ROOMS.index(used) <= ROOMS.index(room), (
                f"{path} imports from {used}, a later room"
            )


def test_the_package_root_has_few_files():
    assert len([path for path in PACKAGE.iterdir() if path.is_file()]) <= 16


def functions(tree, inside=0):
    """Yields (function, number of functions around it)."""
    for node in ast.iter_child_nodes(tree):
        nested = inside
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node, inside
            nested = inside + 1
        yield from functions(node, nested)


def test_source_files_and_functions_are_documented_and_short():
    for path in [*PACKAGE.rglob("*.py"), *(ROOT / "tools").rglob("*.py")]:
        text = path.read_text()
        tree = ast.parse(text)
        assert ast.get_docstring(tree), f"{path} has no docstring"
        assert len(text.splitlines()) <= 300, f"{path} is longer than 300 lines"
        for function, depth in functions(tree):
            length = function.end_lineno - function.lineno + 1
            assert length <= 60, f"{path}: {function.name} has {length} lines"
            assert depth < 2, f"{path}: {function.name} is nested in a nested function"


def test_training_does_not_mention_workers():
    """What several machines need is in distributed/, behind one object."""
    for path in (PACKAGE / "training").glob("*.py"):
        words = re.findall(r"\b(?:chiefs?|workers?|barriers?)\b", path.read_text(), re.IGNORECASE)
        assert not words, f"{path}: {words}"


def test_importing_the_package_starts_no_tensorflow_and_prints_nothing():
    code = "import sys, udl_tf; print([m for m in ('tensorflow', 'keras') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("[]\n", "")


def test_public_names_exist_and_are_documented():
    for name in udl_tf.__all__:
        value = getattr(udl_tf, name)
        assert name == "__version__" or value.__doc__, name
    for room in ROOMS:
        if (PACKAGE / room / "__init__.py").exists():
            module = __import__(f"udl_tf.{room}", fromlist=["__all__"])
            if room != "_support":
                for name in module.__all__:
                    assert getattr(module, name) is not None


def test_every_folder_of_code_is_in_the_wheel():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    named = set(setup["options"]["packages"].split())
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in PACKAGE.rglob("__init__.py")}
    assert named == found | {"udl_tf.configs"}
