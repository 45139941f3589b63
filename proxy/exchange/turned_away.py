"""What becomes of a request that comes while the memory is full: it is not begun, and who asks is told so at once."""

from __future__ import annotations

from typing import Final

from proxy.errors import Refusal
from proxy.exchange.flow import Exchange
from proxy.exchange.upload import NO_UPLOAD, Upload
from proxy.problem import PROBLEMS

_RETRY_AFTER: Final = 5.0  # seconds: idle streams close and the allocator gives back within that

NO_MEMORY: Final = Refusal(
    PROBLEMS["overloaded"], "the memory of the proxy is nearly used up", retry_after=_RETRY_AFTER
)


class TurnedAway(Exchange):
    """An exchange that is not begun: its caller is told so."""

    __slots__ = ()

    def start(self, piece: bytes, *, done: bool) -> None:
        """Answer at once."""
        self._upload = NO_UPLOAD if done and not piece else Upload(piece, done=done)
        self._answer(NO_MEMORY)
