"""What a connection was granted, and what a human's consent brings on its way to becoming that. Pure values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.secret import Secret


@dataclass(frozen=True, slots=True)
class Grant:
    """What outlives an access token, and the last one of these.

    `fields` are the other members of the last token answer, `callback` is the query of the redirect that brought the
    grant: what `connection.token.fields.*` and `connection.callback.*` stand for.
    """

    refresh_token: Secret | None = None
    access_token: Secret | None = None
    fields: Mapping[str, object] = field(default_factory=dict, repr=False)
    callback: Mapping[str, str] = field(default_factory=dict, repr=False)


NO_GRANT: Final = Grant()


@dataclass(frozen=True, slots=True)
class Authorization:
    """What is redeemed (RFC 6749 §4.1.3): the code, the verifier that goes with its challenge, where it was sent."""

    code: Secret
    code_verifier: Secret | None
    redirect_url: str
    state: str
