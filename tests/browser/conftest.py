"""A headless Chromium, and an admin listener for it to look at."""

import socket
from contextlib import asynccontextmanager

import pytest_asyncio

from proxy.admin.health import Health
from proxy.admin.server import AdminServer
from proxy.definitions.settings import AdminListener
from tests.browser.gallery import EVENTS, STATUSES
from tests.conftest import program
from tests.support.running import NOW, Running

# It asks nobody: no updates, no sign-in, no first run, nothing but the pages of the test.
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


class Clock:
    def monotonic(self):
        return NOW

    def wall(self):
        return NOW


class Listener:
    """The server with its fake; `address` says where."""

    def __init__(self):
        self.running = Running({each.name: each for each in STATUSES}, dict(EVENTS))

    async def start(self, **settings):
        sock = socket.create_server(("127.0.0.1", 0))
        self.port = sock.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.server = AdminServer(
            AdminListener(**settings), self.running.ports, Health(list), self.no_metrics, clock=Clock()
        )
        await self.server.start(sock)

    async def no_metrics(self, _accept):
        raise AssertionError("nobody asked for metrics")


@pytest_asyncio.fixture(loop_scope="module")
async def listener():
    made = Listener()
    await made.start()
    yield made
    await made.server.close()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browse():
    """Return a context manager that opens a page: of some size, light or dark, with scripts or without.

    Each page is in a profile of its own, empty and forgotten afterwards; the browser itself takes a second to start.
    """
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program("chromium"), args=list(FLAGS))

        @asynccontextmanager
        async def opened(width=1280, height=900, scheme="light", *, scripts=True):
            context = await browser.new_context(
                viewport={"width": width, "height": height}, color_scheme=scheme, java_script_enabled=scripts
            )
            page = await context.new_page()
            complaints = []
            page.on("console", lambda message: complaints.append(message.text))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.complaints = complaints
            yield page
            await context.close()

        yield opened
        await browser.close()
