"""What a store keeps of one connection, in the words that the issuer and every store speak. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proxy.errors import ProxyError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.oauth.grant import Grant
    from proxy.secret import Secret


class StoreUnavailable(ProxyError):
    """The store can't be asked, or can't be written, now; nothing is known to be lost."""


@dataclass(frozen=True, slots=True)
class SharedToken:
    """An access token that replicas share.

    `asked_at` is when its request was sent, in wall seconds; `lifetime` is what the server gave it from then on, in
    seconds, None where it did not say. `fields` are the other members of the answer.
    """

    value: Secret
    asked_at: float
    lifetime: float | None
    fields: Mapping[str, object] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Stored:
    """What is kept of a connection.

    `version` counts the saves, 0 before the first. `grant` is None when there never was one; an empty one was lost.
    `token` is the newest access token, where replicas share it. `intent` is the digest of the refresh token that a
    request was about to use when this was saved, "" once an answer to it was stored. `revoked`: it was given back, and
    what is still on its way is to be given back, too.
    """

    version: int = 0
    grant: Grant | None = None
    token: SharedToken | None = None
    intent: str = ""
    revoked: bool = False
