"""One fault as it is served: what it has issued and seen, the answers to requests, and their counts."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import secrets
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Barrier, BrokenBarrierError, Lock
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from proxy.demo.definition import CLIENT_ID
from proxy.demo.faults import TOGETHER, Fault, Issue, Use, Verdict

if TYPE_CHECKING:
    from proxy.clock import Clock

# Who sends fewer than `TOGETHER` requests gets its refusals, too.
_GATHERING_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it arrived, below the name of its fault."""

    method: str
    path: str
    authorization: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer: `body` leaves after `after` seconds. With `later` it has no length: that follows after a pause."""

    status: int
    body: bytes
    kind: str = "application/json"
    after: float = 0.0
    later: bytes = b""


def json_reply(status: int, content: object, after: float = 0.0) -> Reply:
    """Return an answer of JSON."""
    return Reply(status, json.dumps(content).encode() + b"\n", after=after)


@dataclass
class _Account:
    """What one fault has issued, seen and counted since it was set up."""

    refresh_token: str
    lives_until: dict[str, float] = field(default_factory=dict)
    uses: dict[str, int] = field(default_factory=dict)
    token_outcomes: Counter[str] = field(default_factory=Counter)
    api_outcomes: Counter[str] = field(default_factory=Counter)
    lost: bool = False
    together: Barrier = field(default_factory=lambda: Barrier(TOGETHER))


class FaultServed:
    """One fault: answers token requests and requests for data, on any thread, and counts both.

    Tokens live `lifetime` seconds. `first_refresh_token` is what a client of a fault that rotates begins with.
    """

    def __init__(self, fault: Fault, client_secret: str, lifetime: int, clock: Clock) -> None:
        self.fault = fault
        self.first_refresh_token = f"demo-refresh-{secrets.token_hex(16)}"
        basic = base64.b64encode(f"{CLIENT_ID}:{client_secret}".encode()).decode()
        self._basic, self._secret = f"Basic {basic}", client_secret
        self._lifetime = lifetime
        self._clock = clock
        self._lock = Lock()
        self._account = _Account(self.first_refresh_token)

    def reset(self) -> None:
        """Forget everything: the fault begins again, and the first refresh token is the current one."""
        with self._lock:
            self._account.together.abort()
            self._account = _Account(self.first_refresh_token)

    def counts(self) -> dict[str, object]:
        """Return how many requests came, and with which outcome; with refresh tokens, what became of the grant."""
        with self._lock:
            account = self._account
            grant = {"grant": "lost" if account.lost else "alive"} if self.fault.rotates else {}
            return {
                "token_requests": account.token_outcomes.total(),
                "token_outcomes": dict(account.token_outcomes),
                "api_requests": account.api_outcomes.total(),
                "api_outcomes": dict(account.api_outcomes),
                **grant,
            }

    def token(self, asked: Asked) -> Reply:
        """Answer a token request (RFC 6749 §4.4, §6)."""
        form = parse_qs(asked.body.decode("utf-8", errors="replace"), keep_blank_values=True)
        with self._lock:
            account = self._account
            if not self._is_the_client(asked.authorization, form):
                account.token_outcomes["unknown_client"] += 1
                return json_reply(401, {"error": "invalid_client", "error_description": "not the client of this demo"})
            if form.get("grant_type") != [self.fault.grant]:
                account.token_outcomes["unsupported_grant_type"] += 1
                wanted = f"this fault wants grant_type={self.fault.grant}"
                return json_reply(400, {"error": "unsupported_grant_type", "error_description": wanted})
            turn = self.fault.turn(account.token_outcomes.total() + 1)
            if self.fault.rotates and form.get("refresh_token") != [account.refresh_token]:
                account.lost = True
            if account.lost:
                account.token_outcomes["invalid_grant"] += 1
                return json_reply(400, {"error": "invalid_grant"}, turn.seconds)
            account.token_outcomes[turn.issue.value] += 1
            return self._issued(account, turn.issue, turn.seconds)

    def _is_the_client(self, authorization: str, form: dict[str, list[str]]) -> bool:
        named = (form.get("client_id"), form.get("client_secret")) == ([CLIENT_ID], [self._secret])
        return named or secrets.compare_digest(authorization.encode(), self._basic.encode())

    def _issued(self, account: _Account, issue: Issue, seconds: float) -> Reply:
        if issue is Issue.EMPTY:
            return Reply(200, b"", after=seconds)
        if issue is Issue.SERVER_ERROR:
            return json_reply(500, {"error": "server_error"}, seconds)
        if issue is Issue.INVALID_CLIENT:
            return json_reply(400, {"error": "invalid_client"}, seconds)
        token = f"demo-{secrets.token_hex(16)}"
        answer: dict[str, object] = {"access_token": token, "token_type": "Bearer"}
        account.lives_until[token] = math.inf
        if issue is not Issue.WITHOUT_LIFETIME:
            # Whole from when it arrives: who waits for it loses nothing of it.
            account.lives_until[token] = self._clock.monotonic() + seconds + self._lifetime
            answer["expires_in"] = self._lifetime
        if self.fault.rotates:
            answer["refresh_token"] = account.refresh_token = f"demo-refresh-{secrets.token_hex(16)}"
        return json_reply(200, answer, seconds)

    def api(self, asked: Asked) -> Reply:
        """Answer a request for data."""
        token = asked.authorization.removeprefix("Bearer ")
        with self._lock:
            account = self._account
            ends = account.lives_until.get(token)
            if ends is None or ends <= self._clock.monotonic():
                outcome = "no_token" if not asked.authorization else "unknown_token" if ends is None else "expired"
                account.api_outcomes[outcome] += 1
                return _REFUSED
            before = account.uses.setdefault(token, 0)
            account.uses[token] += 1
            verdict = self.fault.verdict(Use(list(account.uses).index(token) + 1, before, asked.method))
            counted = Verdict.REVOKED if verdict is Verdict.REVOKED_TOGETHER else verdict
            account.api_outcomes[counted.value] += 1
        match verdict:
            case Verdict.REVOKED_TOGETHER:
                # Once all were there, or it took too long, the barrier is broken and holds nobody.
                with suppress(BrokenBarrierError):
                    account.together.wait(_GATHERING_SECONDS)
                account.together.abort()
                return _REFUSED
            case Verdict.REVOKED:
                return _REFUSED
            case Verdict.ERROR_IN_BODY:
                return json_reply(200, {"ok": False, "error": "invalid_auth"})
            case Verdict.EVENTS:
                return Reply(200, b"data: first\n\n", "text/event-stream", later=b"data: second\n\n")
            case Verdict.ACCEPTED:
                digest = hashlib.sha256(asked.body).hexdigest()
                answer = {"ok": True, "method": asked.method, "path": asked.path, "bytes": len(asked.body)}
                return json_reply(200, answer | {"sha256": digest})


_REFUSED: Final = json_reply(401, {"error": "invalid_token"})
