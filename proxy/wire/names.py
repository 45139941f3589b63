"""Field lines that mean something to a proxy, cut out of a head by one regular expression each way.

Everything else in a head is relayed as the bytes that came, so it is never looked at.
"""

from __future__ import annotations

import re
from typing import Final


def _field_lines(*names: str) -> re.Pattern[bytes]:
    r"""Find the lines of these fields, `\nName: value`, in every case; names are regular expressions.

    One alternative per first letter and case: `re` passes over an alternative that begins with another literal without
    trying it, so most lines cost next to nothing.
    """
    by_letter: dict[str, list[str]] = {}
    for name in names:
        for letter in (name[0].upper(), name[0]):
            by_letter.setdefault(letter, []).append(name[1:])
    alternatives = "|".join(f"{letter}(?i:{'|'.join(rests)})" for letter, rests in by_letter.items())
    return re.compile(f"\n(?:{alternatives}):[^\r]*".encode())


# An underscore spelling of a framing or routing field is caught as well: some servers fold `_` to `-`.
REQUEST_FIELDS: Final = _field_lines(
    "connection", "keep[-_]alive", "proxy[-_][a-z_-]+", "te", "trailer", "upgrade", "http2[-_]settings", "host",
    "authorization_*", "content[-_]length", "transfer[-_]encoding", "expect", "via", "origin", "sec-fetch-[a-z]+",
    "max-forwards",
)  # fmt: skip
RESPONSE_FIELDS: Final = _field_lines(
    "connection", "keep-alive", "proxy-[a-z-]+", "te", "trailer", "upgrade", "transfer-encoding", "content-length",
    "www-authenticate", "location", "content-location",
)  # fmt: skip
TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

# Fields that a `Connection` option can't take away from a request (RFC 9110 §7.6.1 against smuggling by nomination) …
KEPT_IN_REQUESTS: Final = frozenset((b"host", b"content-length", b"transfer-encoding"))
# … or from a response: a hostile upstream must not strip what the client's safety or framing rests on.
KEPT_IN_RESPONSES: Final = frozenset(
    (b"content-length", b"transfer-encoding", b"set-cookie", b"www-authenticate", b"content-type", b"cache-control")
)
# May not stand in a trailer section (RFC 9110 §6.5.1).
FORBIDDEN_TRAILERS: Final = frozenset(
    (
        b"authorization", b"cache-control", b"connection", b"content-encoding", b"content-range", b"content-type",
        b"cookie", b"expect", b"host", b"keep-alive", b"location", b"max-forwards", b"proxy-authenticate",
        b"proxy-authorization", b"proxy-connection", b"set-cookie", b"te", b"trailer", b"upgrade", b"www-authenticate",
    )
)  # fmt: skip


def line_name_and_value(line: bytes) -> tuple[bytes, bytes]:
    """Take a field line apart: lower-case name and value without surrounding white space."""
    name, _, value = line.strip(b"\r\n").partition(b":")
    return name.lower(), value.strip(b" \t")


def has_tab(line: bytes) -> bool:
    """Whether a tab stands in a field line about the framing.

    RFC 9110 §5.5 allows one around a value, but llhttp reads `Content-Length: 5<TAB>` as no number and a response's
    `Transfer-Encoding: chunked<SP><TAB>` as no chunked, so that readers of the same bytes would disagree.
    """
    return b"\t" in line


def cut_named(fields: bytes, names: frozenset[bytes]) -> bytes:
    r"""Return the field lines (`\\r\\nA: 1\\r\\nB: 2\\r\\n\\r\\n`) without those of the given lower-case names."""
    first, *lines = fields.split(b"\r\n")
    kept = [line for line in lines if line[: line.find(b":")].lower() not in names or not line]
    return b"\r\n".join([first, *kept])


def options(value: bytes) -> tuple[bytes, ...]:
    """Split a comma-separated list of tokens into lower-case elements, empty ones dropped (RFC 9110 §5.6.1)."""
    return tuple(item for item in (part.strip(b" \t").lower() for part in value.split(b",")) if item)
