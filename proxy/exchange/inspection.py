"""One response held back while a rule needs its body: for how long, how much of it, and what was read. No I/O.

The application gets the bytes as they came, whatever is read here; what can't be read streams on at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.exchange.codings import codings_of, decoded
from proxy.exchange.document import Unread, UnreadableError, may_be_asked, read_document
from proxy.problem import PROBLEMS
from proxy.wire.framing import ChunkedBody

if TYPE_CHECKING:
    from proxy.exchange.classify import Classifier
    from proxy.exchange.document import Document
    from proxy.exchange.replay import HeldResponse, ReplayMemory
    from proxy.wire.response import ResponseHead

_CONTENT: Final = re.compile(
    rb"\r\n[Cc][Oo][Nn][Tt][Ee][Nn][Tt]-(?:([Tt][Yy][Pp][Ee])|[Ee][Nn][Cc][Oo][Dd][Ii][Nn][Gg]):[ \t]*([^\r]*)"
)
# Beside text/* and the suffixes of RFC 6839.
_READABLE: Final = frozenset((b"", b"application/json", b"application/xml", b"application/javascript"))
_MALFORMED: Final = PROBLEMS["upstream_protocol_error"]


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of a body is read: `raw` bytes as they come, `decoded` bytes; and `hold` seconds at most."""

    raw: int
    decoded: int
    hold: float


class Inspection:
    """A held response whose head leaves the verdict open. `document` is what was read of it, None while more may come.

    `chunked`: its pieces come with their chunk framing. `bodiless`: nothing follows the head (HEAD).
    """

    __slots__ = ("_bounds", "_chunked", "_classifier", "_codings", "_held", "_memory", "_taken", "document")

    def __init__(
        self,
        classifier: Classifier,
        bounds: Bounds,
        memory: ReplayMemory,
        held: HeldResponse,
        *,
        chunked: bool,
        bodiless: bool,
    ) -> None:
        self._bounds = bounds
        self._chunked = chunked
        self._classifier = classifier
        self._held = held
        self._memory = memory
        self._taken = 0
        head = held.head
        media_type, self._codings = _content_of(head)
        self.document: Document | Unread | None = None
        if bodiless or head.status in (204, 304):
            self.document = Unread.NO_BODY
        elif media_type == b"text/event-stream":
            self.document = Unread.STREAM
        elif not _is_readable(media_type):
            self.document = Unread.MEDIA_TYPE
        elif head.fields.content_length > bounds.raw:
            self.document = Unread.SIZE
        elif not held.done and not self._is_promising():
            self.document = Unread.NOT_ASKED

    def is_settled(self) -> bool:
        """Read the body if all of it is here; whether nothing more has to be waited for."""
        if self.document is None:
            held = self._held
            if held.size > self._bounds.raw:
                self.document = Unread.SIZE
            elif held.done:
                self.document = self._read(held.body)
            elif self._memory.take(held.size - self._taken):
                self._taken = held.size
            else:
                self.document = Unread.MEMORY
        return self.document is not None

    def settle(self, reason: Unread) -> None:
        """Wait for nothing more."""
        if self.document is None:
            self.document = reason

    def verdict(self) -> str | None:
        """Return the name of the rule by which the response is an auth error, or None; gives the memory back."""
        self.drop()
        verdict = self._classifier.judge(self._held.head, self.document or Unread.BROKEN_OFF)
        return verdict if isinstance(verdict, str) else None

    def drop(self) -> None:
        """Give the memory back."""
        self._memory.give_back(self._taken)
        self._taken = 0

    def _is_promising(self) -> bool:
        """Tell whether, by its beginning, a rule may ask for the body."""
        if self._codings:
            return True
        beginning = self._held.body
        if self._chunked:
            beginning, _ = ChunkedBody(_MALFORMED, decode=True).feed(beginning)
        return may_be_asked(beginning[:256], json=self._classifier.json, xml=self._classifier.xml)

    def _read(self, payload: bytes) -> Document | Unread:
        try:
            if self._chunked:
                payload, _ = ChunkedBody(_MALFORMED, decode=True).feed(payload)
            if self._codings and payload:
                payload = decoded(payload, self._codings, self._bounds.decoded)
        except UnreadableError as error:
            return error.reason
        if len(payload) > self._bounds.decoded:
            return Unread.DECODED_SIZE
        return read_document(payload, json=self._classifier.json, xml=self._classifier.xml)


def _content_of(head: ResponseHead) -> tuple[bytes, tuple[bytes, ...]]:
    """Return the media type, the first if there are several and "" if there is none, and the codings."""
    types: list[bytes] = []
    codings: list[bytes] = []
    for is_type, value in _CONTENT.findall(head.raw, head.lines_at):
        (types if is_type else codings).append(value)
    media_type = types[0].partition(b";")[0].strip(b" \t").lower() if types else b""
    return media_type, codings_of(codings) if codings else ()


def _is_readable(media_type: bytes) -> bool:
    return media_type in _READABLE or media_type.startswith(b"text/") or media_type.endswith((b"+json", b"+xml"))
