"""A running proxy as the admin listener's ports show it, played by a small fake that remembers what it was asked."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

from proxy.admin.ports import (
    AuthorizationError,
    DeviceStarted,
    Event,
    Finished,
    Ports,
    ReloadReport,
    Started,
    TestResult,
)
from proxy.errors import Refusal, TokenUnavailable
from proxy.problem import PROBLEMS
from proxy.secret import Secret

if TYPE_CHECKING:
    from proxy.admin.pac import Forward
    from proxy.admin.status import ConnectionStatus

NOW: Final = 1767323045.0  # 2026-01-02T03:04:05Z


@dataclass
class Running:
    """Fills all four ports. The connection `broken` gets no token and can be neither revoked nor tested.

    An authorization goes to `server`; a flow is named by its number, and its code is `code-NUMBER`.
    """

    statuses: dict[str, ConnectionStatus] = field(default_factory=dict)
    happened: dict[str, list[Event]] = field(default_factory=dict)
    server: str = "https://auth.example.com/authorize"
    renewed: list[str] = field(default_factory=list)
    revoked: list[str] = field(default_factory=list)
    tested: list[str] = field(default_factory=list)
    started: list[str] = field(default_factory=list)
    finished: list[tuple[str, str, tuple[str, ...]]] = field(default_factory=list)
    flows: dict[str, tuple[str, str]] = field(default_factory=dict)  # state -> connection, session
    report: ReloadReport = field(default_factory=lambda: ReloadReport(applied=True, changed=("crm",)))
    quits: int = 0
    trusted: str | None = None
    listener: Forward | None = None

    @property
    def ports(self) -> Ports:
        """Itself, five times."""
        return Ports(self, self, self, self, self)

    def connections(self) -> list[ConnectionStatus]:
        return list(self.statuses.values())

    def events(self, name: str) -> list[Event]:
        return self.happened.get(name, [])

    async def renew(self, name: str) -> None:
        self.renewed.append(name)
        self._refuse(name)
        self.statuses[name] = replace(self.statuses[name], state="valid", last_renewal_at=NOW)

    async def revoke(self, name: str) -> tuple[str, ...]:
        self.revoked.append(name)
        self._refuse(name)
        self.statuses[name] = replace(self.statuses[name], state="none", can_revoke=False)
        return ("refresh_token: ok", "access_token: ok")

    async def test(self, name: str) -> TestResult:
        self.tested.append(name)
        self._refuse(name)
        return TestResult(200, good=True, detail="That is a good answer.", ms=41.62)

    async def start(self, name: str) -> Started:
        self.started.append(name)
        self._refuse(name)
        state, session = f"state-{len(self.started)}", f"session-of-flow-{len(self.started)}"
        self.flows[state] = (name, session)
        back = urlsplit(self.statuses[name].redirect_url or "")
        url = f"{self.server}?state={state}&redirect_uri={back.geturl()}"
        return Started(url, Secret(session), f"{back.scheme}://{back.netloc}")

    async def finish(self, path_name: str, query: str, sessions: tuple[str, ...]) -> Finished:
        self.finished.append((path_name, query, sessions))
        content = parse_qs(query)
        name, session = self.flows.pop(content.get("state", [""])[0], ("", ""))
        if not name:
            raise AuthorizationError("invalid_state", 400, "It has ended, or it never began.")
        if session not in sessions:
            raise AuthorizationError("session_mismatch", 400, "The cookie of this browser is not that of the flow.")
        if "error" in content:
            raise AuthorizationError("access_denied", 400, "The authorization server said no.")
        if content.get("code") == ["down"]:
            raise AuthorizationError("exchange_failed", 502, "The code could not be exchanged: transport.")
        self.statuses[name] = replace(self.statuses[name], state="valid", last_renewal_at=NOW)
        return Finished(name)

    async def device(self, name: str) -> DeviceStarted:
        self.started.append(name)
        self._refuse(name)
        return DeviceStarted("WDJB-MJHT", "https://auth.example.com/device", None, 900.0)

    async def reload(self) -> ReloadReport:
        return self.report

    def quit(self) -> None:
        self.quits += 1

    def forward(self) -> Forward | None:
        return self.listener

    def authority(self) -> str | None:
        return self.trusted

    def _refuse(self, name: str) -> None:
        if name == "broken":
            raise TokenUnavailable(PROBLEMS["client_rejected"], "the client is rejected", retry_after=299.5)
        if name == "odd":
            raise Refusal(PROBLEMS["no_route"], "this connection can't do that")
