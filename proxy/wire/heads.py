"""Who reads heads: the compiled scanner where it was built, else the pure modules.

The scanner takes plain good heads and hands every other one to the pure modules, so nothing is read otherwise; it only
costs less.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final, Protocol

from proxy.form import form
from proxy.wire import request, response

if TYPE_CHECKING:
    from proxy.wire.request import HeadLimits, RequestHead
    from proxy.wire.response import ResponseHead


class ReadsRequests(Protocol):
    """As `request.parse_request`."""

    def __call__(self, buffer: bytes, limits: HeadLimits, searched: int = 0, /) -> RequestHead | None:
        """Return the head at the beginning of `buffer`, or None when it is not complete; raises `Refusal`."""
        ...


class ReadsResponses(Protocol):
    """As `response.parse_response`."""

    def __call__(self, buffer: bytes, limits: HeadLimits, searched: int = 0, /) -> ResponseHead | None:
        """Return the head at the beginning of `buffer`, or None when it is not complete; raises `Refusal`."""
        ...


FORM: Final = form()

# Variables rather than functions: the compiler would bind a function of this name for good.
parse_request: ReadsRequests = request.parse_request
parse_response: ReadsResponses = response.parse_response
if FORM == "compiled":
    _scanner = import_module("proxy.wire.scanner")
    parse_request, parse_response = _scanner.parse_request, _scanner.parse_response
