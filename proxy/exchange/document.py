"""What a body says at a path: JSON read no further than the path leads, XML parsed whole. Pure.

`Document` is what rules ask. A body that could not be read is an `Unread` instead, and rules that name a path do not
match it.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from proxy.definitions.json_path import Path
    from proxy.definitions.xpath import XPath

DEPTH_MAX: Final = 64  # no API nests its errors deeper, and no reader of ours may be led to recurse (P-242)
_BOMS: Final = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))


class Unread(Enum):
    """Why a body was not read. The response streams on and only its head is judged."""

    NO_BODY = "there is no body"
    MEDIA_TYPE = "its media type is none of JSON, XML or text"
    STREAM = "it is a stream of events"
    CODING = "its content coding is unknown, or the bytes are not in it"
    SIZE = "it is larger than limits.inspect_raw"
    DECODED_SIZE = "it is larger than limits.inspect_decoded when decoded, or a hundred times its coded size"
    SLOW = "it took longer than limits.inspect_hold"
    MEMORY = "limits.replay_memory is used up"
    BROKEN_OFF = "it broke off"
    SYNTAX = "it is neither well-formed JSON nor XML"
    NOT_ASKED = "no rule asks for a body of its kind"
    DEPTH = "it is nested more than 64 levels deep"
    DECLARATIONS = "it declares a document type or entities"
    ELEMENTS = "it has more elements than an error has"


class Found(NamedTuple):
    """One value at a path: its text, None for a list or an object, and whether it says nothing."""

    text: str | None
    is_empty: bool


class Document(Protocol):
    """A body that could be read. `kind` is "JSON" or "XML"."""

    @property
    def kind(self) -> str:
        """What it is written in."""
        ...

    def at(self, path: Path | XPath) -> tuple[Found, ...]:
        """Return what stands at the end of the path; raise `UnreadableError` when the body turns out to be broken."""
        ...


class UnreadableError(Exception):
    """A body that can't be read; `reason` says why."""

    def __init__(self, reason: Unread) -> None:
        super().__init__(reason.value)
        self.reason = reason


def read_document(payload: bytes, *, json: bool, xml: bool) -> Document | Unread:
    """Return the body as a document, if a rule asks for its kind; the first character that is no space decides."""
    first, text = _first(payload)
    if not first:
        return Unread.NO_BODY
    try:
        if first == b"<":
            if not xml:
                return Unread.NOT_ASKED
            from proxy.exchange.xml_document import XmlDocument

            return XmlDocument(payload)  # as it came: XML names its own encoding
        if not json:
            return Unread.NOT_ASKED
        from proxy.exchange.json_document import JsonDocument

        return JsonDocument(text)
    except UnreadableError as error:
        return error.reason


def may_be_asked(beginning: bytes, *, json: bool, xml: bool) -> bool:
    """Tell whether a body that begins so can be of a kind that a rule asks for."""
    if not beginning.lstrip(b"\xef\xbb\xbf \t\r\n"):  # nothing to be seen yet
        return True
    first, _ = _first(beginning)
    return xml if first == b"<" else json


def _first(payload: bytes) -> tuple[bytes, bytes]:
    """Return the first character that is no space, and the body in UTF-8 without its byte order mark."""
    if payload[:1] in {b"{", b"[", b"<"} and payload[1:2] != b"\x00":
        return payload[:1], payload
    for mark, encoding in _BOMS:
        if payload.startswith(mark):
            payload = payload[len(mark) :]
            if encoding != "utf-8":
                payload = payload.decode(encoding, "replace").encode()
            break
    else:
        # Two ASCII characters in UTF-16 (RFC 4627 §3): every second byte is zero.
        if payload[1:2] == b"\x00":
            payload = payload.decode("utf-16-le", "replace").encode()
        elif payload[:1] == b"\x00":
            payload = payload.decode("utf-16-be", "replace").encode()
    return payload.lstrip(b" \t\r\n")[:1], payload
