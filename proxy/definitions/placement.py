"""Fields of a request that the definitions name: where the token goes, and which headers can't be set."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from proxy.definitions.models import HeaderPlacement, QueryPlacement, SendTokenVia
from proxy.definitions.notation.kinds import Text
from proxy.definitions.notation.nodes import shown
from proxy.definitions.notation.shapes import Block, Fields, Key

if TYPE_CHECKING:
    from proxy.definitions.notation.reading import Reading

TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2
# Framing, routing and hop-by-hop fields (RFC 9110 §7.6.1): the proxy's own business.
FORBIDDEN: Final = frozenset(
    {
        "host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade",
        "proxy-connection", "proxy-authorization", "proxy-authenticate", "http2-settings",
    }
)  # fmt: skip


def header_fault(name: str) -> tuple[str, str] | None:
    """Return what is wrong with a field name that somebody wants to set."""
    if not TOKEN.fullmatch(name):
        return "header_forbidden", f"{shown(name)} is not a field name"
    if name.lower() in FORBIDDEN:
        return "header_forbidden", f"{name} belongs to the proxy; it can't be set"
    return None


def _scheme(text: str) -> tuple[str, str] | None:
    return (
        None
        if not text or TOKEN.fullmatch(text)
        else ("header_forbidden", "a scheme is one word, or empty for the bare token")
    )


def _parameter(text: str) -> tuple[str, str] | None:
    fits = re.fullmatch(r"[A-Za-z0-9._~$:\[\]-]+", text)
    return None if fits else ("invalid_name", "the name of a query parameter has letters, digits and . _ ~ $ : [ ] -")


SEND_TOKEN_VIA: Final = Block(
    {
        "header": Key(
            Block(
                {
                    "name": Key(Text("a field name", header_fault), "Header name.", default="Authorization"),
                    "scheme": Key(
                        Text("a scheme", _scheme, empty=True),
                        "Header scheme; empty for the bare token.",
                        default="Bearer",
                    ),
                },
            ),
            "The token goes into this header.",
        ),
        "query": Key(
            Block({"name": Key(Text("a parameter name", _parameter), "Parameter name.", required=True)}),
            "The token goes into this query parameter.",
        ),
    },
    exclusive=True,
)


def send_token_via(fields: Fields, reading: Reading) -> SendTokenVia | None:
    """Return where the token goes, None where that is at fault."""
    if len(fields.nodes) != 1:
        reading.fault(fields.node, "exactly_one", "write exactly one of header and query")
        return None
    header: Fields | None = fields.values.get("header")
    query: Fields | None = fields.values.get("query")
    if header is not None and not header.broken:
        return SendTokenVia(header=HeaderPlacement(**header.values))
    if query is not None and not query.broken:
        return SendTokenVia(query=QueryPlacement(**query.values))
    return None
