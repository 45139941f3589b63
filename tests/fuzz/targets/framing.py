"""Where a body ends: the same place for a strict reader and for h11, however the bytes are cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.errors import Refusal
from proxy.problem import PROBLEMS
from proxy.wire.framing import ChunkedBody, CountedBody
from tests.fuzz import strict
from tests.fuzz.oracles import h11_requests
from tests.fuzz.readings import Rest
from tests.fuzz.targets import Target

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.wire.framing import Body

_HEAD: Final = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
_PROBLEM: Final = PROBLEMS["bad_request"]


def _body(kind: int) -> Body:
    if kind & 4:
        return CountedBody(kind >> 3)
    return ChunkedBody(_PROBLEM, decode=bool(kind & 1), trailers=bool(kind & 2))


def _fed(body: Body, pieces: Iterable[bytes]) -> tuple[bytes, bytes, bool] | None:
    """Return what passes, what lies beyond and whether it is whole; None where it is refused."""
    passed, pieces = b"", list(pieces)
    if body.done:
        return b"", b"".join(pieces), True
    try:
        for number, piece in enumerate(pieces):
            out, rest = body.feed(piece)
            passed += out
            if body.done:
                return passed, rest + b"".join(pieces[number + 1 :]), True
    except Refusal:
        return None
    return passed, b"", False


def check(data: bytes) -> None:
    """Read the first two bytes as the kind of body and the size of pieces, the rest as the body."""
    kind, size, data = (data + b"\0\0")[0], (data + b"\0\0")[1] or 1, data[2:]
    whole = _fed(_body(kind), [data])
    cut = _fed(_body(kind), [data[at : at + size] for at in range(0, len(data), size)])
    if whole is None or cut is None:
        assert whole == cut, "whether it is refused depends on where it is cut"
        return
    if whole[2] or not kind & 1:
        assert whole[1:] == cut[1:], "where it ends depends on where it is cut"
    assert whole[2] == cut[2]
    assert len(whole[0]) <= len(data)
    if whole[2]:
        assert whole[0] == cut[0], "what passes depends on where it is cut"
        _second_opinion(kind, data, whole[0], whole[1])


def _second_opinion(kind: int, data: bytes, passed: bytes, rest: bytes) -> None:
    if kind & 4:
        assert passed + rest == data
        assert len(passed) == kind >> 3
        return
    found = strict.requests(_HEAD + data)
    assert found.messages, f"a strict reader says {found.why or found.rest}"
    message = found.messages[0]
    assert len(data) - len(rest) == message.end - len(_HEAD), "it ends elsewhere"
    if kind & 1:
        assert passed == message.body
        return
    relayed = h11_requests(_HEAD + passed)
    assert relayed.rest is Rest.NOTHING, relayed.why
    assert [each.body for each in relayed.messages] == [message.body]


_BODIES: Final = (
    b"5\r\nhello\r\n0\r\n\r\n",
    b'3;a=b;c="d\\"e"\r\nabc\r\n00\r\nX-T: 1\r\nAuthorization: x\r\n\r\nGET / HTTP/1.1\r\n',
    b"1\r\na\r\n" * 5 + b"0\r\n\r\n",
    b"5 \r\nhello\r\n0\r\n\r\n",
    b"5\nhello\r\n0\r\n\r\n",
    b"FFFFFFFFFFFFFFFF\r\n",
    b"0\r\nX: y\r\n z\r\n\r\n",
    b"5\r\nhello0\r\n\r\n",
    b"5;\r\nhello\r\n0\r\n\r\n",
    b"a" * 9 + b"GET /",
)
TARGET: Final = Target(
    "only Refusal; the same end for a strict reader; what passes is one message for h11; cuts change nothing",
    check,
    tuple(bytes([kind, size]) + body for body in _BODIES for kind, size in ((0, 1), (1, 3), (2, 7), (0x4C, 2))),
)
