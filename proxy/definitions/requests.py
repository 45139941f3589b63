"""How the token, refresh and revocation requests differ from their defaults, and that no credential goes twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from proxy.definitions.models import RequestOverride
from proxy.definitions.notation.kinds import Choice
from proxy.definitions.notation.nodes import Mapping, Scalar, Sequence
from proxy.definitions.notation.reading import UnreadableError
from proxy.definitions.notation.shapes import Block, Fields, Key
from proxy.definitions.templates.permitted import Place
from proxy.definitions.templates.placeholders import EMPTY, TemplateMap
from proxy.definitions.templates.templated import Headers, UrlText, child
from proxy.definitions.templates.trees import Object, tree

if TYPE_CHECKING:
    from proxy.definitions.notation.nodes import Node
    from proxy.definitions.notation.reading import Reading
    from proxy.definitions.templates.templated import Header

INVALID: Final = "override_body_invalid"
METHODS: Final = ("POST", "GET", "PUT", "DELETE")
IN_QUERY: Final = ("GET", "DELETE")  # their fields go into the query
PLACES: Final = {
    "access_token_request": Place.TOKEN_REQUEST,
    "refresh_token_request": Place.REFRESH_REQUEST,
    "revocation_request": Place.REVOCATION_REQUEST,
}
# Which client_auth sends a field of this name by itself (RFC 6749 §2.3.1, RFC 7523 §2.2).
_SENT_BY: Final = {
    "client_secret": frozenset({"client_secret_post"}),
    "client_assertion": frozenset({"client_secret_jwt", "private_key_jwt"}),
    "client_assertion_type": frozenset({"client_secret_jwt", "private_key_jwt"}),
}

REQUEST: Final = Block(
    {
        "method": Key(Choice(METHODS), "Method; the fields of GET and DELETE go into the query.", default="POST"),
        "url": Key(UrlText(), "Where the request goes, if not where it would go anyway."),
        "headers": Key(Headers(), "Headers that are set; null removes one."),
        "body": Key(Object("a body", INVALID), "Fields in place of the default ones: a mapping, or a JSON text."),
        "body_format": Key(Choice(("form", "json", "query")), "How the fields are sent.", default="form"),
        "extra": Key(
            Object("extra", INVALID, whole=False), "Fields added to the default ones; null removes a default field."
        ),
    },
)


@dataclass(frozen=True, slots=True)
class Override:
    """A request as it was written: its value, and the nodes of its parts."""

    place: Place
    value: RequestOverride
    fields: Fields


def override_of(name: str, fields: Fields, reading: Reading) -> Override | None:
    """Check the request `name` of an iClient and return it, None where it is not written or has a fault."""
    block: Fields | None = fields.values.get(name)
    if block is None:
        return None
    before = reading.refusals
    values = block.values
    if "body" in block and "extra" in block:
        reading.fault(
            block.nodes["extra"], INVALID, "extra adds to the default body, body replaces it; write one of them"
        )
    method: Any = values.get("method", "POST")
    body_format: Any = values.get("body_format", "form")
    if body_format == "json" and method in IN_QUERY:
        message = f"body_format json has no effect with method {method}: its fields go into the query"
        reading.fault(block.nodes["body_format"], "no_effect", message)
    typed = body_format == "json"
    trees = {key: _tree(values[key], reading, typed=typed) for key in ("body", "extra") if key in values}
    if block.broken or reading.refusals > before:
        return None
    headers: tuple[Header, ...] = values.get("headers", ())
    value = RequestOverride(
        method=method,
        url=values.get("url"),
        headers=tuple((header.name, header.value) for header in headers),
        body=trees.get("body"),
        body_format=body_format,
        extra=trees.get("extra", EMPTY),
    )
    return Override(PLACES[name], value, block)


def check_credentials(override: Override, client_auth: str, reading: Reading) -> None:
    """Fault where a request would carry the client's credentials in two ways (RFC 6749 §2.3)."""
    if client_auth == "none":
        return
    block = override.fields
    for key, fields in (("body", override.value.body), ("extra", override.value.extra)):
        for name, leaf in fields.entries if fields is not None else ():
            if leaf is not None and client_auth not in _SENT_BY.get(name, frozenset({client_auth})):
                reading.fault(
                    child(block.nodes[key], name),
                    "credentials_twice",
                    f"client_auth {client_auth} sends the credentials already; remove {name}, or change client_auth",
                )
    for header in block.values.get("headers", ()):
        if header.name.lower() == "authorization" and client_auth == "client_secret_basic":
            reading.fault(
                header.node,
                "header_forbidden",
                "Authorization carries the client credentials here; set client_auth to what is meant, or remove this",
            )


def _tree(node: Mapping, reading: Reading, *, typed: bool) -> TemplateMap:
    if not typed:
        for item in node.entries.values():
            _check_flat(item, reading)
    try:
        return tree(node, reading, typed=typed)
    except UnreadableError:
        return EMPTY


def _check_flat(node: Node, reading: Reading) -> None:
    if not isinstance(node, Scalar):
        what = "a list" if isinstance(node, Sequence) else "a mapping"
        reading.fault(node, INVALID, f"{what} has no place in a form; write its text, or body_format: json")
