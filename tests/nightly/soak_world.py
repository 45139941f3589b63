"""What is around the product in a soak: tokens that live five seconds, and an API that knows which are good."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self

from tests.chaos.pacing import lasting, until
from tests.support.destination import Destination
from tests.support.scripts import replies_then_fin, replies_then_resets, response, stalls, tunnels, unauthorized
from tests.support.upstream import Upstream, listen

if TYPE_CHECKING:
    from tests.support.upstream import Request, Script

LIFE: Final = 5.0  # seconds of a token
LARGE: Final = 8 << 20  # more than sockets hold: who reads it slowly holds up the upstream
STEADY: Final = "steady"  # the connection that the load is for
CHANGING: Final = "changing"  # the one that reloads change
_KEPT: Final = 60.0  # seconds for which a token past its end is remembered
# An API gives a token so many seconds more than it has, as most do; and ours knows how late it is itself, on a machine
# that does other things: what has lain unread for that long was sent in time.
_LEEWAY: Final = 1.0
_BEAT: Final = 0.1
_SERVING: Final = 0.5
_LATE: Final = 10.0  # seconds for which it remembers how late it was

PLANTED: Final[dict[bytes, Script]] = {
    b"/reset": replies_then_resets(),
    b"/truncated": replies_then_fin(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 500),
    b"/stalls": stalls,
    b"/large": replies_then_fin(response(b"x" * LARGE)),
    b"/websocket": tunnels(),
}


class World:
    """Counts what comes."""

    def __init__(self) -> None:
        self.tokens = Upstream(listen())
        self.tokens.always(self._token)
        self.upstream = Upstream(listen())
        self.upstream.always(self._serve)
        self.destination = Destination()
        self._token_fault = ""
        self._succeeded = False  # since the last fault of the token endpoint
        self.token_requests = 0
        self.refused = 0
        self.expired = 0  # requests with a token past its end
        self.stalling: asyncio.Queue[Request] = asyncio.Queue()
        self.version = b""  # of the definitions, as the last request of the changing connection told it
        self._ends: dict[str, float] = {}
        self._revoked: set[str] = set()
        self._used: dict[str, float] = {}  # since when a token has served
        self._newest = ""
        self._late: deque[tuple[float, float]] = deque()
        self._latest = 0.0

    async def __aenter__(self) -> Self:
        await self.tokens.start()
        await self.upstream.start()
        await self.destination.__aenter__()
        self._beating = asyncio.create_task(self._beat(), name="how late this process is")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._beating.cancel()
        await asyncio.gather(self._beating, return_exceptions=True)
        await self.destination.__aexit__(None, None, None)
        await self.upstream.close()
        await self.tokens.close()

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _BEAT
            await until(due)
            now = loop.time()
            self._late.append((now, now - due))
            while self._late[0][0] < now - _LATE:
                self._late.popleft()
            self._latest = max(late for _, late in self._late)

    @property
    def newest_was_used(self) -> bool:
        """Whether the newest token of the steady connection has served for a while.

        What was waiting for it has been answered by then: a request is sent again once, and who meets two refusals is
        told so. That is another test.
        """
        since = self._used.get(self._newest)
        return since is not None and asyncio.get_running_loop().time() > since + _SERVING + self._latest

    @property
    def is_well(self) -> bool:
        """Whether the token endpoint has answered since its last fault, and has none before it."""
        return self._succeeded and not self._token_fault

    def next_token_request(self, fault: str) -> None:
        """Let the next token request of the steady connection meet `500`, `slow`, `reset` or `cut`."""
        self._token_fault = fault

    @property
    def newest(self) -> str:
        """The newest token of the steady connection."""
        return self._newest

    def revoke(self) -> str:
        """Let the API refuse the newest token from now on; return it."""
        self._revoked.add(self._newest)
        return self._newest

    def forget(self) -> None:
        """Let go of what the servers remember of each request: a soak has many."""
        for server in (self.tokens, self.upstream):
            server.requests.clear()
            server.streams[:] = [stream for stream in server.streams if not stream.lost.is_set()]
        now = asyncio.get_running_loop().time()
        for token in [token for token, end in self._ends.items() if end + _KEPT < now]:
            del self._ends[token]
            self._revoked.discard(token)
            self._used.pop(token, None)

    def definitions(self, version: str = "0") -> dict[str, Any]:
        """Return what the operator wrote; `version` is a header of the changing connection."""
        return {
            "listeners": {
                "reverse": {"bind": "127.0.0.1:0"},
                "forward": {"bind": "127.0.0.1:0"},
                "admin": {"bind": "127.0.0.1:0"},
            },
            "limits": {"upstream_idle": "5s"},
            "shutdown": {"drain_delay": "10ms", "grace": "5s"},
            "connections": {
                name: {
                    "base_url": f"http://127.0.0.1:{self.upstream.port}",
                    "hosts": [],
                    "headers": {"X-Version": version if name == CHANGING else "-"},
                    "iclient": {
                        "grant_type": "client_credentials",
                        "token_url": f"http://127.0.0.1:{self.tokens.port}/{name}",
                        "client_id": name,
                        "client_secret": {"env": "CLIENT_SECRET"},
                        "valid_domains": [f"127.0.0.1:{self.tokens.port}"],
                        "allow_insecure": True,
                    },
                }
                for name in (STEADY, CHANGING)
            },
        }

    async def _token(self, request: Request) -> None:
        await request.read_body()
        self.token_requests += 1
        steady = request.target == f"/{STEADY}".encode()
        fault = ""
        if steady:
            fault, self._token_fault = self._token_fault, ""
            self._succeeded = fault in ("", "slow")
        if fault == "500":
            await request.send(response(b"{}", status=b"500 Internal Server Error"))
            return
        if fault == "reset":
            request.reset()
            return
        if fault == "slow":
            await lasting(1.0)
        token = f"canary-token-{self.token_requests}"
        answer = response(
            json.dumps({"access_token": token, "token_type": "Bearer", "expires_in": LIFE}).encode(),
            b"Content-Type: application/json",
        )
        if fault == "cut":
            await request.send(answer[:-10])
            request.fin()
            return
        self._ends[token] = asyncio.get_running_loop().time() + LIFE
        if steady:
            self._newest = token
        await request.send(answer)

    async def _serve(self, request: Request) -> None:
        await request.read_body()
        token = request.token
        is_past = asyncio.get_running_loop().time() > self._ends.get(token, 0.0) + _LEEWAY + self._latest
        self.expired += is_past
        if is_past or token in self._revoked:
            self.refused += 1
            await request.send(unauthorized())
            return
        self._used.setdefault(token, asyncio.get_running_loop().time())
        version = request.values(b"x-version")[0]
        if version != b"-":
            self.version = version
        script = PLANTED.get(request.target)
        if script is None:
            await request.send(response())
            return
        if script is stalls:
            self.stalling.put_nowait(request)
        with suppress(ConnectionError):
            await script(request)
