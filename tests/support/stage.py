"""A stage: the product in a process, a token endpoint, and for every test a connection and an upstream of its own.

One process serves all the tests of a module, so that hundreds of cases are quick; since each has its own connection,
U and T are exact, and no test sees another's pool or token. Beside each case there is good traffic, and after it the
invariants of tests/catalogue are asserted.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, unquote

from tests.support import seen, traffic
from tests.support.client import Client, Response
from tests.support.deadline import eventually
from tests.support.process import Process
from tests.support.pulse import Pulse
from tests.support.scripts import OK_BODY, response
from tests.support.traffic import Beside
from tests.support.upstream import Upstream, listen

if TYPE_CHECKING:
    import asyncio
    import ssl
    from collections.abc import Mapping
    from pathlib import Path

    from tests.support.upstream import Request

SECRET: Final = f"canary-secret-{secrets.token_hex(8)}"
_BESIDE: Final = f"canary-token-{traffic.NAME}-".encode()
# Limits that good traffic would reach, and those that it must not try by being slow.
_SCARCE: Final = {"connections", "upstream_streams"}
_IMPATIENT: Final = {"head_timeout", "body_idle", "write_idle", "keep_alive"}


class TokenEndpoint:
    """A token endpoint that gives each client `canary-token-CLIENT-1`, `-2` … and counts T per client."""

    def __init__(self) -> None:
        self._server = Upstream(listen())
        self._server.always(self._answer)
        self.url = f"http://127.0.0.1:{self._server.port}/token"
        self.authority = f"127.0.0.1:{self._server.port}"
        self.asked: dict[str, int] = {}
        self.held: dict[str, asyncio.Event] = {}
        self.failing: set[str] = set()
        self.members: dict[str, dict[str, object]] = {}  # what the answer to a client holds beside the usual
        self.secrets: dict[str, str] = {}  # of clients whose secret is not the usual one

    async def start(self) -> None:
        await self._server.start()

    async def close(self) -> None:
        await self._server.close()

    def forsake(self) -> None:
        """Let go of the port of an endpoint that was never started."""
        self._server.forsake()

    async def _answer(self, request: Request) -> None:
        form = parse_qs((await request.read_body()).decode())
        [basic] = request.values(b"authorization")
        client, _, secret = base64.b64decode(basic.removeprefix(b"Basic ")).decode().partition(":")
        assert (request.line, unquote(secret)) == (b"POST /token HTTP/1.1", self.secrets.get(client, SECRET))
        assert form["grant_type"] == ["client_credentials"]
        self.asked[client] = self.asked.get(client, 0) + 1
        gate = self.held.get(client)
        if gate is not None:
            await gate.wait()
        if client in self.failing:
            await request.send(response(b'{"error": "temporarily_unavailable"}', status=b"503 Service Unavailable"))
            return
        token = f"canary-token-{client}-{self.asked[client]}"
        answer = {"access_token": token, "token_type": "Bearer", "expires_in": 3600, **self.members.get(client, {})}
        await request.send(response(json.dumps(answer).encode(), b"Content-Type: application/json"))

    @property
    def open_streams(self) -> int:
        return self._server.open_streams

    async def asked_by(self, client: str, times: int) -> None:
        """Wait until that client has asked so many times."""
        while self.asked.get(client, 0) < times:
            await self._server.arrived(len(self._server.requests) + 1)


@dataclass
class Case:
    """What one test sees: its connection, its upstream and the listener."""

    name: str
    upstream: Upstream
    stage: Stage
    clients: list[Client] = field(default_factory=list)
    door: tuple[str, int] | None = None  # where the good request goes, if not to the first reverse listener
    good: bytes = b""  # that request, if it has to be another than usual
    counted: bool = True  # whether what its servers count is what the running test saw
    traffic: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def prefix(self) -> bytes:
        return b"/" + self.name.encode()

    @property
    def host(self) -> bytes:
        """The line by which a good client names the listener."""
        host, port = self.stage.process.reverse
        return b"Host: %s:%d" % (host.encode(), port)

    @property
    def upstream_requests(self) -> int:
        """U: how many complete heads the upstream has seen."""
        return len(self.upstream.requests)

    @property
    def token_requests(self) -> int:
        """T: how many token requests the authorization server has seen for this connection."""
        return self.stage.tokens.asked.get(self.name, 0)

    def token(self, generation: int = 1) -> str:
        """Return the token of that generation, as the authorization server gives it."""
        return f"canary-token-{self.name}-{generation}"

    def request(self, *fields: bytes, method: bytes = b"GET", target: bytes = b"/x", body: bytes = b"") -> bytes:
        """Return a request for this connection: only the fields given, and `Host`."""
        return self.raw(b"%s %s%s HTTP/1.1" % (method, self.prefix, target), self.host, *fields, body=body)

    @staticmethod
    def raw(*lines: bytes, body: bytes = b"") -> bytes:
        """Return these lines and an empty one, then the body."""
        return b"\r\n".join(lines) + b"\r\n\r\n" + body

    async def connect(
        self,
        address: tuple[str, int] | str | None = None,
        *,
        receive_buffer: int | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> Client:
        """Open a stream to the first reverse listener, or to another address; it is closed after the test."""
        client = await Client.connect(address or self.stage.process.reverse, receive_buffer=receive_buffer, tls=tls)
        self.clients.append(client)
        return client

    async def ask(self, raw: bytes) -> Response:
        """Send one request on a fresh stream and read the response."""
        return await (await self.connect()).ask(raw)

    async def warm(self) -> Client:
        """Have the token and a pooled upstream stream ready; return the client's stream, forget what was counted."""
        client = await self.connect()
        warmed = await client.ask(self.request(target=b"/warm"))
        assert (warmed.status, warmed.body) == (200, OK_BODY)
        self.upstream.requests.clear()
        return client

    async def assert_refused(self, raw: bytes, status: int = 400, code: str = "bad_request") -> None:
        """Send what must not pass: one own answer, then the end of the stream; U=0 and T=0."""
        client = await self.connect()
        refused = await client.ask(raw)
        assert (refused.status, refused.code) == (status, code)
        assert await client.is_closed()
        assert (self.upstream_requests, self.token_requests) == (0, 0)

    async def assert_serves(self) -> None:
        """I3: a following good request on a fresh stream succeeds with U=1 and the right body."""
        self.note()
        self.upstream.behave()
        before = self.upstream_requests
        client = await self.connect(self.door)
        with seen.unseen():
            good = await client.ask(self.good or self.request(target=b"/afterwards"))
        assert (good.status, good.body) == (200, OK_BODY), good
        assert self.upstream_requests == before + 1
        assert b"/afterwards" in self.upstream.requests[-1].target

    def note(self) -> None:
        """Tell the record what the servers have counted for this case; what comes later is not the test's."""
        if self.counted:
            self.counted = False
            seen.requests(self.upstream_requests, self.token_requests)

    async def leave(self) -> None:
        """Close all streams of applications."""
        for client in self.clients:
            await client.close()
        self.clients.clear()

    async def close(self) -> None:
        """End the case: its traffic, its streams and its upstream; the process has to be as it was before."""
        try:
            await self.traffic.aclose()
        finally:
            self.note()
            await self.leave()
            await self.upstream.close()
            self.stage.cases.remove(self)
        strangers = [request.head for request in self.upstream.requests if _BESIDE in request.head]
        assert not strangers, f"what belongs to the traffic beside came here: {strangers}"
        await self.stage.assert_settled()


class Stage:
    """The process and what is around it; `connections` maps each name to what its definition adds to the usual."""

    def __init__(
        self,
        connections: Mapping[str, Mapping[str, Any]],
        settings: Mapping[str, Any],
        names: Mapping[str, str] | None = None,
    ) -> None:
        self._names = names
        self.tokens = TokenEndpoint()
        self._listening = {name: listen() for name in connections}
        self._connections = connections
        self._settings = settings
        self.environment = {"CLIENT_SECRET": SECRET}
        self.within: tuple[str, ...] = ()  # a command that runs the process under restraint
        self.program: tuple[str, ...] = ("proxy",)  # a module that is the product, and its first words
        self.client_secret = {"env": "CLIENT_SECRET"}
        self.whole_folder = False  # whether the process is given the folder of its definitions instead of the file
        self.cases: list[Case] = []
        self._read = 0  # lines of the process that have been looked at
        self._good: Beside | None = None
        self._pulse: Pulse | None = None
        self._beside: Upstream | None = None
        scarce = _SCARCE & settings.get("limits", {}).keys()
        if traffic.seed() and not seen.now().alone and not scarce and _is_open(settings.get("listeners", {})):
            self._beside = Upstream(listen())

    def definitions(self) -> dict[str, Any]:
        """Return what the operator of this stage wrote."""
        return {
            "listeners": {"reverse": {"bind": "127.0.0.1:0"}, "admin": {"bind": "127.0.0.1:0"}},
            "shutdown": {"drain_delay": "10ms", "grace": "5s"},
            **self._settings,
            "connections": {
                **{name: self._connection(name, extra) for name, extra in self._connections.items()},
                **({traffic.NAME: self._usual(traffic.NAME, self._beside.port)} if self._beside else {}),
            },
        }

    def _connection(self, name: str, extra: Mapping[str, Any]) -> dict[str, Any]:
        port = self._listening[name].getsockname()[1]
        definition = {**self._usual(name, port), **extra}
        definition["base_url"] = definition["base_url"].replace("PORT", str(port))
        return definition

    def _usual(self, name: str, port: int) -> dict[str, Any]:
        return {
            "base_url": f"http://127.0.0.1:{port}",
            "prefetch": False,
            "iclient": {
                "grant_type": "client_credentials",
                "token_url": self.tokens.url,
                "client_id": name,
                "client_secret": self.client_secret,
                "valid_domains": [self.tokens.authority],
                "allow_insecure": True,
            },
        }

    async def start(self, folder: Path, *, serving: bool = True, environment: Mapping[str, str] | None = None) -> None:
        """Start the servers and the process; wait for its listeners if it is to be `serving`."""
        await self.tokens.start()
        if self._beside:
            await self._beside.start()
        variables = {**self.environment, **(environment or {})}
        self.process = await Process.start(
            self.definitions(), folder, variables, self._names, self.within,
            whole_folder=self.whole_folder, program=self.program,
        )  # fmt: skip
        if not serving:
            return
        try:
            await self.process.until_listening()
        except AssertionError:
            await self.process.stop()
            await self._close_servers()
            raise
        if traffic.measures() and not seen.now().alone and "admin" in self.process.listening:
            self._pulse = await Pulse.of(self.process)
        await self.process.metric("in_flight_requests")  # whatever a first scrape opens is not this stage's to count
        self._open_files = self.process.open_files()
        if self._beside and "reverse" in self.process.listening:
            gentle = bool(_IMPATIENT & self._settings.get("limits", {}).keys())
            self._good = Beside(self.process.reverse, gentle=gentle, ended=lambda: self.process.told_to_end)
            self._beside.always(self._good.answer)

    async def case(self, name: str, tls: Any = None, *, counted: bool = True) -> Case:
        """Open the upstream of one connection and hand it to a test; with the first one that is open traffic begins."""
        upstream = Upstream(self._listening.pop(name), tls)
        await upstream.start()
        made = Case(name, upstream, self, counted=counted)
        if self._good and counted and not seen.now().alone and not self._is_busy:
            await made.traffic.enter_async_context(self._good.going(seen.now().test))
        self.cases.append(made)
        return made

    @property
    def _is_busy(self) -> bool:
        return any(case.counted for case in self.cases)

    async def close(self) -> None:
        """Stop everything, and hold the process to what no process may leave behind."""
        metrics = b""
        if self._pulse:
            lag = await self._pulse.longest()
            seen.now().lag = 0.0 if self.process.stood_still or "I5" in seen.now().without else lag
        try:
            if self.process.is_serving:
                await eventually("the process at rest, as it was at the beginning", self._is_at_rest)
                metrics = (await self.process.admin_get("/metrics")).body
        finally:
            status = await self.process.stop()
            await self._close_servers()
        self.process.assert_clean()
        assert b"canary-" not in metrics
        assert status == 0 or not self.process.listening, self.process.output[-2000:]

    async def assert_settled(self) -> None:
        """I1, I2, I4, I5 after a case, where the process goes on and no other case does."""
        if not self.process.is_serving or self.process.told_to_end or self._is_busy:
            return
        for case in self.cases:
            await case.leave()
        if "I2" not in seen.now().without:
            began = time.monotonic()
            with seen.unseen():
                await eventually("the process at rest, as it was before the case", self._is_at_rest)
            seen.now().rest = max(seen.now().rest, time.monotonic() - began)
        self.process.assert_clean(since=self._read)
        self._read = len(self.process.lines)

    async def _is_at_rest(self) -> bool:
        """I2: no file more than at the beginning but for streams of others; no exchange, no tunnel."""
        others = [case.upstream for case in self.cases] + ([self._beside] if self._beside else [])
        streams = self.tokens.open_streams + sum(upstream.open_streams for upstream in others)
        if self.process.open_files() > self._open_files + streams:
            return False
        metrics = await self.process.admin_get("/metrics")
        assert (metrics.status, b"canary-" in metrics.body) == (200, False)
        return all(
            f"\niclient_proxy_{gauge} 0" in metrics.body.decode() for gauge in ("in_flight_requests", "tunnels_open")
        )

    def forsake(self) -> None:
        """Let go of the ports of a stage that was never started."""
        for listening in self._listening.values():
            listening.close()
        self.tokens.forsake()
        if self._beside:
            self._beside.forsake()

    async def _close_servers(self) -> None:
        for listening in self._listening.values():
            listening.close()
        await self.tokens.close()
        if self._beside:
            await self._beside.close()


def _is_open(listeners: Mapping[str, Any]) -> bool:
    """Return whether the first reverse listener takes plain HTTP from everyone."""
    reverse = listeners.get("reverse")
    first = reverse[0] if isinstance(reverse, list) and reverse else reverse
    return not isinstance(first, dict) or not first.keys() & {"tls", "auth"}
