"""Which form of the reader of heads this process uses, told without loading either of them."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Final, Literal

# Anything but nothing and "0" leaves the compiled scanner out.
SWITCH: Final = "ICLIENT_PROXY_PURE"


def form() -> Literal["compiled", "pure"]:
    """Return "compiled" where the scanner was built for this Python and the environment does not leave it out."""
    if os.environ.get(SWITCH, "") not in ("", "0"):
        return "pure"
    return "pure" if find_spec("proxy.wire.scanner") is None else "compiled"
