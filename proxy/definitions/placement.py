"""Fields of a request that the definitions name: where the token goes, which headers are set, which can't be."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from proxy.definitions.kinds import Kind, Text, scalar, without_placeholder
from proxy.definitions.models import HeaderPlacement, QueryPlacement, SendTokenVia
from proxy.definitions.nodes import Mapping, Node, Scalar, shown
from proxy.definitions.reading import UnreadableError
from proxy.definitions.shapes import Block, Fields, Key, as_mapping

if TYPE_CHECKING:
    from proxy.definitions.reading import Reading

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
    "send_token_via",
    {
        "header": Key(
            Block(
                "header",
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
            Block("query", {"name": Key(Text("a parameter name", _parameter), "Parameter name.", required=True)}),
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


@dataclass(frozen=True, slots=True)
class Header:
    """One header that is set, or removed where the value is None."""

    name: str
    value: str | None
    node: Node


@dataclass(frozen=True)
class Headers(Kind[tuple[Header, ...]]):
    """A map of field names to values; `null` removes the field."""

    def read(self, node: Node, reading: Reading) -> tuple[Header, ...]:
        headers: dict[str, Header] = {}
        for name, child in as_mapping(node, reading).entries.items():
            try:
                header = self._header(name, child, reading)
                if (first := headers.get(name.lower())) is not None:
                    raise reading.refused(
                        child,
                        "duplicate_key",
                        f"this header is already set at {first.node.place}; case makes no difference",
                    )
            except UnreadableError:
                continue  # the rest is looked at all the same: other checks need it
            headers[name.lower()] = header
        return tuple(headers.values())

    def _header(self, name: str, node: Node, reading: Reading) -> Header:
        if (wrong := header_fault(name)) is not None:
            raise reading.refused(node, *wrong)
        if isinstance(node, Scalar) and node.is_null:
            return Header(name, None, node)
        value = without_placeholder(scalar(node, reading, "text or null"), reading)
        if not re.fullmatch(r"[\x20-\x7e\t]*", value) or value != value.strip(" \t"):
            raise reading.refused(
                node,
                "header_forbidden",
                "a header's value is ASCII without control characters, and without spaces at its ends",
            )
        return Header(name, value, node)

    def merge(self, under: Node, over: Node) -> Node:
        if not isinstance(under, Mapping) or not isinstance(over, Mapping):
            return over
        written = {name.lower() for name in over.entries}
        inherited = {name: node for name, node in under.entries.items() if name.lower() not in written}
        return Mapping({**inherited, **over.entries}, over.place, over.path)

    def schema(self) -> dict[str, Any]:
        value = {"type": ["string", "number", "boolean", "null"]}
        return {"type": "object", "additionalProperties": value}
