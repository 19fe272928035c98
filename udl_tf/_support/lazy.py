"""Public names of a package that are imported at their first use."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Returns a module-level `__getattr__` (PEP 562).

    Importing a package is then cheap, although some of its modules import Keras.

    Args:
        package: `__name__` of the package.
        homes: submodule that defines each public name; "" if the name is a submodule itself.
    """

    def __getattr__(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = homes[name]
        if not home:
            return import_module(f"{package}.{name}")
        return getattr(import_module(f"{package}.{home}"), name)

    return __getattr__
