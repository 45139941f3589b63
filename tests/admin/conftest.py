"""An admin listener on a free port, with a running proxy's port played by a small fake."""

import asyncio
import socket
from dataclasses import dataclass

import pytest

from proxy.admin.health import Health
from proxy.admin.server import AdminServer
from proxy.definitions.settings import AdminListener
from tests.support.client import Client
from tests.support.running import NOW, Running


@dataclass
class Exposition:
    content_type: str
    pieces: object


@dataclass
class Clock:
    """Stands still until it is moved."""

    now: float = NOW

    def monotonic(self):
        return self.now

    def wall(self):
        return self.now


class Admin:
    """The server, its fake and its address."""

    def __init__(self):
        self.running = Running()
        self.clock = Clock()
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
            AdminListener(**settings),
            self.running.ports,
            self.health,
            self.scrape,
            clock=self.clock,
            scrape_seconds=scrape_seconds,
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
