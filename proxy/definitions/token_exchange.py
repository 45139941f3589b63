"""The `token_exchange` of an iClient: whose token is exchanged, and for what (RFC 8693 §2.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from proxy.definitions.keys.rotated import Rotated
from proxy.definitions.models import TokenExchange
from proxy.definitions.notation.kinds import Kind
from proxy.definitions.notation.nodes import Node, Sequence
from proxy.definitions.notation.shapes import Block, Fields, Key, ListOf
from proxy.definitions.notation.values import Value

if TYPE_CHECKING:
    from proxy.definitions.notation.reading import Reading


@dataclass(frozen=True)
class Values(Kind[tuple[str, ...]]):
    """A value, or a list of them."""

    def read(self, node: Node, reading: Reading) -> tuple[str, ...]:
        return ListOf(Value()).read(node, reading) if isinstance(node, Sequence) else (Value().read(node, reading),)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [ListOf(Value()).schema(), Value().schema()]}


TOKEN_EXCHANGE: Final = Block(
    {
        "subject_token": Key(
            Rotated(), "Token that is exchanged; a file is read again for each request.", required=True
        ),
        "subject_token_type": Key(Value(), "Its type.", default="urn:ietf:params:oauth:token-type:access_token"),
        "actor_token": Key(Rotated(), "Token of who acts for the subject; a file is read again for each request."),
        "actor_token_type": Key(Value(), "Its type."),
        "requested_token_type": Key(Value(), "Type of token that is wanted."),
        "audience": Key(Values(), "Services the token is meant for, by name."),
        "resource": Key(Values(), "Services the token is meant for, by URL."),
    },
)


def token_exchange_of(fields: Fields, reading: Reading) -> TokenExchange | None:
    """Check the `token_exchange` of an iClient and return it, None where there is none or it has a fault."""
    block: Fields | None = fields.values.get("token_exchange")
    if block is None:
        return None
    for one, other in (("actor_token", "actor_token_type"), ("actor_token_type", "actor_token")):
        if one in block and other not in block:
            reading.fault(block.nodes[one], "missing_key", f"{one} needs {other} beside it", block.path(other))
    return None if block.broken else TokenExchange(**block.values)
