"""The head of a response: what is taken is what a reader without leniency takes, however the bytes come."""

from __future__ import annotations

from typing import Final

from proxy.errors import Refusal
from proxy.wire.heads import parse_response
from proxy.wire.response import ResponseHead
from tests.fuzz import same, strict
from tests.fuzz.corpus import HOSTILE_RESPONSES, RESPONSES
from tests.fuzz.targets import Target
from tests.fuzz.targets.request_head import LIMITS


def outcome(data: bytes, searched: int = 0) -> ResponseHead | int | None:
    """Return what is read: a head, the status of a refusal, or None."""
    try:
        return parse_response(data, LIMITS, searched)
    except Refusal as refusal:
        return refusal.problem.status


def _told(found: ResponseHead | int | None) -> object:
    if not isinstance(found, ResponseHead):
        return found
    return found.raw, found.status, found.version, found.fields.content_length, found.fields.chunked


def check(data: bytes) -> None:
    """See the rule."""
    same.check_response(data, LIMITS)
    whole = outcome(data)
    assert _told(outcome(data)) == _told(whole), "the second time it is another"
    for cut in {len(data) // 3, len(data) // 2, max(0, len(data) - 1)}:
        part = outcome(data[:cut])
        if part is None:
            assert _told(outcome(data, cut)) == _told(whole), f"what was seen of it before makes a difference ({cut})"
        elif isinstance(part, ResponseHead):
            assert _told(part) == _told(whole), f"more bytes make another head (cut at {cut})"
        else:
            assert isinstance(whole, int), f"refused at {cut}, then taken or waited for"
    if isinstance(whole, int):
        assert whole == 502
    elif whole is not None:
        _second_opinion(data, whole)


def _second_opinion(data: bytes, head: ResponseHead) -> None:
    assert data.startswith(head.raw)
    assert head.size == len(head.raw)
    assert head.raw.endswith(b"\r\n\r\n")
    # By HEAD there is no body, so that the head is judged alone.
    found, _ = strict.response(head.raw, b"HEAD", ended=False)
    assert len(found.messages) == 1, f"a strict reader says {found.why or found.rest}"
    message = found.messages[0]
    assert message.start == (b"%d" % head.status,)
    lengths = message.values(b"content-length")
    assert lengths == ([b"%d" % head.fields.content_length] if head.fields.content_length >= 0 else [])
    assert bool(message.values(b"transfer-encoding")) == head.fields.chunked


TARGET: Final = Target(
    "only Refusal (502); a head is one for a strict reader, too; cuts, repetition and form change nothing",
    check,
    (*RESPONSES, *(each for many in HOSTILE_RESPONSES.values() for each in many)),
)
