"""Authorizations that have begun in a browser and have not come back yet. Pure but for what it remembers.

Each is good once, for ten minutes, and only for the browser that began it (RFC 9700 §2.1, §4.7).
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from proxy.errors import ProxyError
from proxy.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from proxy.definitions.models import IClient

LIFETIME: Final = 600.0
PENDING_MAX: Final = 1000
_BYTES: Final = 32  # 256 bits: nobody guesses it within ten minutes, or ten thousand years


class FlowError(ProxyError):
    """No such authorization: `invalid_state` (unknown, expired, used), `session_mismatch` (another browser's)."""

    def __init__(self, code: str) -> None:
        self.code = code
        super().__init__(code)


@dataclass(frozen=True, slots=True)
class Flow:
    """One authorization on its way. `path_name` is what the callback's path has to name; `began` is monotonic.

    `iclient` is the one that asked: a code belongs to it, and goes to no other (RFC 9700 §4.4).
    """

    connection: str
    path_name: str
    redirect_url: str
    code_verifier: Secret | None
    iclient: IClient = field(repr=False)
    session: Secret
    began: float


class Flows:
    """The authorizations under way; the oldest gives way where there are too many."""

    def __init__(self, entropy: Callable[[int], bytes], monotonic: Callable[[], float]) -> None:
        self._entropy = entropy
        self._monotonic = monotonic
        # By a hash: how long a look-up takes must not tell how much of a state was guessed.
        self._pending: OrderedDict[bytes, Flow] = OrderedDict()

    def __len__(self) -> int:
        return len(self._pending)

    def begin(
        self, connection: str, path_name: str, redirect_url: str, code_verifier: Secret | None, iclient: IClient
    ) -> tuple[str, Flow]:
        """Return the `state` of a new authorization, and the authorization."""
        now = self._monotonic()
        while self._pending and now - next(iter(self._pending.values())).began > LIFETIME:
            self._pending.popitem(last=False)
        if len(self._pending) >= PENDING_MAX:
            self._pending.popitem(last=False)
        state = self._entropy(_BYTES).hex()
        session = Secret(self._entropy(_BYTES).hex())
        flow = Flow(connection, path_name, redirect_url, code_verifier, iclient, session, now)
        self._pending[_digest(state)] = flow
        return state, flow

    def take(self, state: str, path_name: str, sessions: Iterable[str]) -> Flow:
        """Return the authorization of `state` and forget it; it has to be of one of the browser's `sessions`.

        Raises `FlowError`. Whatever is wrong, the state is used up.
        """
        flow = self._pending.pop(_digest(state), None)
        if flow is None or self._monotonic() - flow.began > LIFETIME or flow.path_name != path_name:
            raise FlowError("invalid_state")
        known = flow.session.reveal().encode()
        if not any(hmac.compare_digest(known, session.encode()) for session in sessions):
            raise FlowError("session_mismatch")
        return flow


def _digest(state: str) -> bytes:
    return hashlib.sha256(state.encode()).digest()
