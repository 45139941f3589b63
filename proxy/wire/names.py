"""Field lines that mean something to a proxy, cut out of a head by one regular expression each way.

Everything else in a head is relayed as the bytes that came, so it is never looked at.
"""

from __future__ import annotations

import re
from typing import Final

# Each branch begins with a class of one letter in both cases, and the look-ahead names them all: the engine then rules
# out most lines by one character, which a case-insensitive pattern does not let it do (a quarter of the search).
# An underscore spelling of a framing or routing field is caught as well: some servers fold `_` to `-`.
REQUEST_FIELDS: Final = re.compile(
    rb"\r\n(?=[AaCcEeHhKkMmOoPpSsTtUuVv])(?:[Aa](?i:uthorization_*)|[Cc](?i:onnection|ontent[-_]length)|[Ee](?i:xpect)"
    rb"|[Hh](?i:ost|ttp2[-_]settings)|[Kk](?i:eep[-_]alive)|[Mm](?i:ax-forwards)|[Oo](?i:rigin)"
    rb"|[Pp](?i:roxy[-_][a-z_-]+)|[Ss](?i:ec-fetch-[a-z]+)|[Tt](?i:e|railer|ransfer[-_]encoding)|[Uu](?i:pgrade)"
    rb"|[Vv](?i:ia)):[^\r]*",
)
RESPONSE_FIELDS: Final = re.compile(
    rb"\r\n(?=[CcKkLlPpTtUuWw])(?:[Cc](?i:onnection|ontent-length|ontent-location)|[Kk](?i:eep-alive)|[Ll](?i:ocation)"
    rb"|[Pp](?i:roxy-[a-z-]+)|[Tt](?i:e|railer|ransfer-encoding)|[Uu](?i:pgrade)|[Ww](?i:ww-authenticate)):[^\r]*",
)
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


def cut_named(fields: bytes, names: frozenset[bytes]) -> bytes:
    r"""Return the field lines (`\\r\\nA: 1\\r\\nB: 2\\r\\n\\r\\n`) without those of the given lower-case names."""
    first, *lines = fields.split(b"\r\n")
    kept = [line for line in lines if line[: line.find(b":")].lower() not in names or not line]
    return b"\r\n".join([first, *kept])


def options(value: bytes) -> tuple[bytes, ...]:
    """Split a comma-separated list of tokens into lower-case elements, empty ones dropped (RFC 9110 §5.6.1)."""
    return tuple(item for item in (part.strip(b" \t").lower() for part in value.split(b",")) if item)
