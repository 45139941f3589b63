"""The head of a request: what is taken is what a reader without leniency takes, however the bytes come."""

from __future__ import annotations

from typing import Final

from proxy.errors import Refusal
from proxy.wire.heads import parse_request
from proxy.wire.request import HeadLimits, RequestHead
from tests.fuzz import same, strict
from tests.fuzz.corpus import GOOD, HOSTILE
from tests.fuzz.targets import Target

LIMITS: Final = HeadLimits(64 * 1024, 16 * 1024, 128, 16 * 1024)


def outcome(data: bytes, searched: int = 0) -> tuple[object, ...] | None:
    """Return what is read: a head, a refusal by its code, or None."""
    try:
        head = parse_request(data, LIMITS, searched)
    except Refusal as refusal:
        return ("refused", refusal.problem.status)
    return None if head is None else ("head", *_parts(head))


def _parts(head: RequestHead) -> tuple[object, ...]:
    fields = head.fields
    return (
        head.method,
        head.target,
        head.version,
        head.lines,
        head.size,
        fields.content_length,
        fields.chunked,
        fields.host,
    )


def check(data: bytes) -> None:
    """See the rule."""
    same.check_request(data, LIMITS)
    whole = outcome(data)
    assert outcome(data) == whole, "the second time it is another"
    for cut in {len(data) // 3, len(data) // 2, max(0, len(data) - 1)}:
        part = outcome(data[:cut])
        if part is None:
            assert outcome(data, cut) == whole, f"what was seen of it before makes a difference (cut at {cut})"
        elif part[0] == "head":
            assert part == whole, f"more bytes make another head (cut at {cut})"
        else:
            assert whole is not None, f"refused at {cut}, then waited for"
            assert whole[0] == "refused", f"refused at {cut}, then taken"
    if whole is not None and whole[0] == "head":
        _second_opinion(data, whole)


def _second_opinion(data: bytes, whole: tuple[object, ...]) -> None:
    _, method, target, version, lines, size, length, chunked, host = whole
    assert isinstance(size, int)
    assert isinstance(length, int)
    assert 0 < size <= len(data)
    assert data[:size].endswith(b"\r\n\r\n")
    assert isinstance(lines, bytes)
    assert data[: size - 2].endswith(lines), "the head's lines are not its own"
    body = b"0\r\n\r\n" if chunked else b"x" * length if 0 < length < 1 << 20 else b""
    if length >= 1 << 20:
        return
    found = strict.requests(data[:size] + body)
    assert len(found.messages) == 1, f"a strict reader says {found.why or found.rest}"
    message = found.messages[0]
    assert message.start == (method, target)
    assert message.version == b"1.%d" % (1 if version else 0)
    assert message.values(b"host") == ([host] if host else [])
    assert len(message.body) == max(0, 0 if chunked else length)


TARGET: Final = Target(
    "only Refusal; a head is one for a strict reader, too; cuts, repetition and form change nothing",
    check,
    (*GOOD, *(each for many in HOSTILE.values() for each in many if len(each) < 1000)),
)
