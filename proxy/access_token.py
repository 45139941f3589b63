"""An access token, and what its keeper and the data path say to each other about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.secret import Secret


@dataclass(frozen=True, slots=True, eq=False)
class AccessToken:
    """One access token and its generation (1, 2, 3 …) on its connection; compared by identity.

    `fields` are the other members of the token answer, `callback` the query of the redirect that brought the grant:
    what `connection.token.fields.*` and `connection.callback.*` stand for. Both may hold secrets.
    """

    value: Secret
    generation: int
    fields: Mapping[str, object] = field(default_factory=dict, repr=False)
    callback: Mapping[str, str] = field(default_factory=dict, repr=False)


class Refused(Enum):
    """What to do with a request whose token was refused.

    `RETRY`: a newer token serves already, or a renewal is under way: wait for it and send once more. `RELAY`: a
    renewal can't help now; the application gets the upstream's own response.
    """

    RETRY = "retry"
    RELAY = "relay"
