"""Both forms on the same bytes: what the compiled scanner makes of a head is what the pure modules make of it.

Each is asked with the memo as it is and with an empty one: what was remembered of other heads may make no difference.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from proxy.errors import Refusal
from proxy.wire import request, response

try:
    from proxy.wire import scanner
except ImportError:
    scanner = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proxy.wire.request import HeadLimits

THERE: Final = scanner is not None
_PARTS: Final = (request.RequestFields, response.ResponseFields)


def told(read: Callable[..., Any], data: bytes, limits: HeadLimits, searched: int = 0) -> object:
    """Return all that a reader says: each part of a head, or which refusal in which words, or None."""
    try:
        head = read(data, limits, searched)
    except Refusal as refusal:
        return type(refusal), refusal.problem, refusal.detail, refusal.retry_after
    return None if head is None else (type(head), _parts(head))


def _parts(value: Any) -> dict[str, Any]:
    found = {name: getattr(value, name) for name in dir(value) if not name.startswith("__")}
    found = {name: part for name, part in found.items() if not callable(part)}
    return {name: _parts(part) if isinstance(part, _PARTS) else part for name, part in found.items()}


def check_request(data: bytes, limits: HeadLimits, searched: int = 0) -> None:
    """See that both forms say the same of a request; raises AssertionError."""
    if THERE:
        _same(request, scanner.parse_request, request.parse_request, data, limits, searched)


def check_response(data: bytes, limits: HeadLimits, searched: int = 0) -> None:
    """See that both forms say the same of a response; raises AssertionError."""
    if THERE:
        _same(response, scanner.parse_response, response.parse_response, data, limits, searched)


def _same(module: Any, compiled: Any, pure: Any, data: bytes, limits: HeadLimits, searched: int) -> None:
    warm = told(compiled, data, limits, searched)
    with _nothing_remembered(module):
        expected = told(pure, data, limits, searched)
    with _nothing_remembered(module):
        cold = told(compiled, data, limits, searched)
    assert cold == expected, f"compiled: {cold}, pure: {expected}"
    assert warm == expected, f"compiled, remembering: {warm}, pure: {expected}"


@contextmanager
def _nothing_remembered(module: Any) -> Iterator[None]:
    kept = dict(module.MEMO)
    module.MEMO.clear()
    try:
        yield
    finally:
        module.MEMO.clear()
        module.MEMO.update(kept)
