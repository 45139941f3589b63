"""An admin listener on a free port, with a running proxy's port played by a small fake."""

import asyncio
import socket
from dataclasses import dataclass, field, replace

import pytest

from proxy.admin.health import Health
from proxy.admin.server import AdminServer
from proxy.admin.status import ConnectionStatus
from proxy.definitions.models import AdminListener
from proxy.errors import TokenUnavailable
from proxy.problem import PROBLEMS
from tests.support.client import Client


@dataclass
class Exposition:
    content_type: str
    pieces: object


@dataclass
class Running:
    """Fake of `Operations`: what it was asked is in `renewed` and `quits`."""

    statuses: dict[str, ConnectionStatus] = field(default_factory=dict)
    renewed: list[str] = field(default_factory=list)
    quits: int = 0

    def connections(self):
        return list(self.statuses.values())

    async def renew(self, name):
        self.renewed.append(name)
        if name == "broken":
            raise TokenUnavailable(PROBLEMS["client_rejected"], "the client is rejected", retry_after=299.5)
        self.statuses[name] = replace(self.statuses[name], state="valid", last_renewal_at=1767323045.0)

    def quit(self):
        self.quits += 1


class Admin:
    """The server, its fake and its address."""

    def __init__(self):
        self.running = Running()
        self.health = Health(self.running.connections)
        self.pieces = [b"# HELP x x\n", b"x 1\n"]
        self.accepted = []
        self.failure = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.scraping = 0
        self.host = b"localhost"

    async def start(self, *, bind="127.0.0.1", sock=None, scrape_seconds=10.0, **settings):
        sock = sock or socket.create_server((bind, 0))
        self.address = sock.getsockname()
        self.server = AdminServer(
            AdminListener(**settings), self.running, self.health, self.scrape, scrape_seconds=scrape_seconds
        )
        await self.server.start(sock)

    async def scrape(self, accept):
        self.accepted.append(accept)
        self.scraping += 1
        if self.failure:
            raise self.failure
        await self.gate.wait()
        return Exposition("text/plain; version=0.0.4; charset=utf-8", iter(self.pieces))

    async def ask(self, target, *fields, method=b"GET", host=None, body=b"", address=None):
        client = await Client.connect(address or self.address)
        try:
            lines = [method + b" " + target + b" HTTP/1.1", b"Host: " + (self.host if host is None else host), *fields]
            return await client.ask(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        finally:
            await client.close()


@pytest.fixture
async def admin():
    made = Admin()
    yield made
    await made.server.close()
