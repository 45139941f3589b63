"""In which form the data path runs: compiled, where `make accelerate` or the wheel brought that, or from its sources.

Both are the same modules. What is compiled lies beside its source, and Python prefers it; `ICLIENT_PROXY_PURE=1` in the
environment has it take the sources (`proxy/__init__.py`).
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_extensions import mypyc_attr as mypyc_attr  # noqa: PLC0414 what stands here is what the compiler looks for
else:

    def mypyc_attr(**_: bool) -> Callable[[type], type]:
        """Tell the compiler about a class; to Python it says nothing."""
        return lambda cls: cls


def form() -> Literal["compiled", "pure"]:
    """Return the form of this process, without loading any of it."""
    return "pure" if find_spec("proxy.wire.scanner") is None else "compiled"
