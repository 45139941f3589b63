"""All readers on the same bytes: what the compiled scanner makes of a head is what the pure modules make of it.

Each is asked with what it remembers and with nothing: what was remembered of other heads may make no difference. The
pure modules are asked once more when they have just learned the shape of this very head.
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
    """See that all readers say the same of a request; raises AssertionError."""
    _same(request, scanner and scanner.parse_request, request.parse_request, data, limits, searched)


def check_response(data: bytes, limits: HeadLimits, searched: int = 0) -> None:
    """See that all readers say the same of a response; raises AssertionError."""
    _same(response, scanner and scanner.parse_response, response.parse_response, data, limits, searched)


def _same(module: Any, compiled: Any, pure: Any, data: bytes, limits: HeadLimits, searched: int) -> None:
    with nothing_remembered(module):
        expected = told(pure, data, limits, searched)
    if compiled is not None:
        warm = told(compiled, data, limits, searched)
        with nothing_remembered(module):
            cold = told(compiled, data, limits, searched)
        assert cold == expected, f"compiled: {cold}, pure: {expected}"
        assert warm == expected, f"compiled, remembering: {warm}, pure: {expected}"
    remembering = told(pure, data, limits, searched)
    assert remembering == expected, f"pure, remembering: {remembering}, with nothing to remember: {expected}"
    if isinstance(expected, tuple) and type(expected[1]) is dict:
        learn_shape(module, pure, data, limits)
        shaped = told(pure, data, limits, searched)
        assert shaped == expected, f"pure, of a known shape: {shaped}, read the long way: {expected}"


def learn_shape(module: Any, pure: Any, data: bytes, limits: HeadLimits) -> None:
    """Have a good head read, and its shape learned if heads like it have one."""
    for turn in (2, 1):  # the first time what its lines come to may not be known yet
        module.SHAPES.turn = turn
        pure(data, limits)


@contextmanager
def nothing_remembered(module: Any) -> Iterator[None]:
    """Neither what lines came to, nor the shapes of heads."""
    remembered = (module.MEMO, module.SHAPES.known)
    kept = [dict(each) for each in remembered]
    for each in remembered:
        each.clear()
    try:
        yield
    finally:
        for each, before in zip(remembered, kept, strict=True):
            each.clear()
            each.update(before)
