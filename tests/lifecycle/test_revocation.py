"""A proxy that ends gives its tokens back where it is told to, and does not wait for ever for that."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.authorization_server import AuthorizationServer, End, raw, respond, token
from tests.support.process import Process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@asynccontextmanager
async def proxy(folder: Path, server: AuthorizationServer, **shutdown: Any) -> AsyncIterator[Process]:
    """Run the product with one connection, and wait until it has its first token."""
    iclient = {
        "grant_type": "client_credentials",
        "client_id": "app",
        "client_secret": {"env": "CLIENT_SECRET"},
        "token_url": server.url,
        "revocation_url": server.url_of("/revoke"),
        "valid_domains": [server.authority],
        "allow_insecure": True,
    }
    definitions = {
        "listeners": {"reverse": {"bind": "127.0.0.1:0"}, "admin": {"bind": "127.0.0.1:0"}},
        "shutdown": {"drain_delay": "10ms", "grace": "1s", **shutdown},
        "connections": {"crm": {"base_url": "http://127.0.0.1:1", "iclient": iclient}},
    }
    process = await Process.start(definitions, folder, {"CLIENT_SECRET": "canary-secret"})
    try:
        await process.until_listening()
        await process.until_logged("renewal")
        yield process
    finally:
        await process.stop()


@pytest.mark.case("T-98")
async def test_tokens_are_given_back_at_the_end(tmp_path: Path):
    async with AuthorizationServer() as server:
        server.script(token(refresh_token="canary-refresh"))
        server.script(respond(200), respond(200), at="/revoke")
        async with proxy(tmp_path, server, revoke=True) as process:
            process.signal()
            assert await process.exit_status() == 0

        given_back = [asked.form["token_type_hint"] for asked in server.asked_at("/revoke")]
        assert given_back == ["refresh_token", "access_token"]
        process.assert_clean()


async def test_tokens_are_kept_where_nobody_wants_them_given_back(tmp_path: Path):
    async with AuthorizationServer() as server, proxy(tmp_path, server) as process:
        process.signal()
        assert await process.exit_status() == 0
        assert server.asked_at("/revoke") == []


@pytest.mark.case("T-98")
async def test_a_server_that_does_not_answer_holds_the_end_up_for_five_seconds_at_most(tmp_path: Path):
    async with AuthorizationServer() as server:
        server.script(*[raw(End.STALL)] * 3, at="/revoke")
        async with proxy(tmp_path, server, revoke=True) as process:
            process.signal()
            assert await process.exit_status(8.0) == 0

        assert process.logged("revocation_unfinished")
        assert len(server.asked_at("/revoke")) == 1
        process.assert_clean()
