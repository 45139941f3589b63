"""Who reads heads: the compiled scanner where it was built, else the pure modules.

The scanner takes plain good heads and hands every other one to the pure modules, so nothing is read otherwise; it only
costs less. `ICLIENT_PROXY_PURE=1` in the environment leaves it out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.wire.form import form

if TYPE_CHECKING or form() == "pure":
    from proxy.wire.request import parse_request
    from proxy.wire.response import parse_response

    FORM: Final[str] = "pure"
else:
    from proxy.wire.scanner import parse_request, parse_response

    FORM = "compiled"

__all__ = ["FORM", "parse_request", "parse_response"]
