"""aiohttp's server without its client, which no sidecar needs: 4 MiB, and a quarter of what a start computes.

`import aiohttp` loads the client first of all. Here the package is there without what it exports, until somebody asks
for that: then it is loaded as usual, into the same module.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import TYPE_CHECKING, Final

_PACKAGE: Final = "aiohttp"


class _Bare(ModuleType):
    """The package, of which nothing but submodules have been asked for."""

    def __getattr__(self, name: str) -> object:
        if name == "__version__":  # the server says it of itself
            return version(_PACKAGE)
        if find_spec(f"{_PACKAGE}.{name}") is not None:
            raise AttributeError(name)  # which the import system takes for "not yet imported"
        self.__class__ = ModuleType  # type: ignore[assignment]  # an ordinary package from now on
        if self.__spec__ is not None and self.__spec__.loader is not None:
            self.__spec__.loader.exec_module(self)
        found: object = getattr(self, name)
        return found


def _web() -> ModuleType:
    spec = find_spec(_PACKAGE)
    if _PACKAGE not in sys.modules and spec is not None:
        package = module_from_spec(spec)
        package.__class__ = _Bare
        sys.modules[_PACKAGE] = package
    return import_module(f"{_PACKAGE}.web")


if TYPE_CHECKING:
    from aiohttp import web
else:
    web = _web()

__all__ = ("web",)
