"""Who reads heads: the compiled scanner where it was built, else the pure modules.

The scanner takes plain good heads and hands every other one to the pure modules, so nothing is read otherwise; it only
costs less. `ICLIENT_PROXY_PURE=1` in the environment leaves it out.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from proxy.wire import request, response

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.wire.request import HeadLimits, RequestHead
    from proxy.wire.response import ResponseHead

parse_request: Callable[[bytes, HeadLimits, int], RequestHead | None] = request.parse_request
parse_response: Callable[[bytes, HeadLimits, int], ResponseHead | None] = response.parse_response
_found = False
if os.environ.get("ICLIENT_PROXY_PURE", "") in ("", "0"):
    try:
        from proxy.wire import scanner
    except ImportError:  # a pure wheel, or one of another Python
        pass
    else:
        parse_request, parse_response, _found = scanner.parse_request, scanner.parse_response, True
ACCELERATED: Final = _found
