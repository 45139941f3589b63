"""An access token, and what its keeper and the data path say to each other about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.secret import Secret


@dataclass(frozen=True, slots=True, eq=False)
class AccessToken:
    """One access token and its generation (1, 2, 3 …) on its connection; compared by identity."""

    value: Secret
    generation: int


class Refused(Enum):
    """What to do with a request whose token was refused.

    `RETRY`: a newer token serves already, or a renewal is under way: wait for it and send once more. `RELAY`: a
    renewal can't help now; the application gets the upstream's own response.
    """

    RETRY = "retry"
    RELAY = "relay"
