"""How long the store in Redis waits for what nobody announces. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Pauses:
    """All in seconds: the defaults are for a server that other processes use, too.

    `probe` passes between two probes, and between two attempts to listen; `look` between two looks at a turn that is
    taken, where no message comes. A server that was away may have lost what another replica alone knows: that one finds
    it within a probe and writes back at once, and before it could, for `settling`, nobody uses a refresh token that may
    have been used.
    """

    probe: float = 1.0
    look: float = 1.0
    settling: float = 3.0


USUAL: Final = Pauses()
