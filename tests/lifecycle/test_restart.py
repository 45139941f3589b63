"""A grant outlives the process: what a refresh token was rotated to is what the next process begins with."""

from __future__ import annotations

import base64
import json
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.authorization_server import AuthorizationServer, token
from tests.support.process import Process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

KEY = base64.b64encode(bytes(range(32))).decode()


def definitions(server: AuthorizationServer, store: dict[str, Any]) -> dict[str, Any]:
    iclient = {
        "grant_type": "refresh_token",
        "client_id": "app",
        "client_secret": {"env": "CLIENT_SECRET"},
        "token_url": server.url,
        "valid_domains": [server.authority],
        "allow_insecure": True,
    }
    crm = {"base_url": "http://127.0.0.1:1", "iclient": iclient, "refresh_token": {"env": "SEED"}}
    return {
        "listeners": {"reverse": {"bind": "127.0.0.1:0"}, "admin": {"bind": "127.0.0.1:0"}},
        "shutdown": {"drain_delay": "10ms", "grace": "1s"},
        "store": store,
        "connections": {"crm": crm},
    }


@asynccontextmanager
async def proxy(
    folder: Path, server: AuthorizationServer, *, seed: str = "canary-seed", **store: Any
) -> AsyncIterator[Process]:
    environ = {"CLIENT_SECRET": "canary-secret", "SEED": seed, "ICLIENT_PROXY_KEY": KEY}
    process = await Process.start(definitions(server, store or {"kind": "file"}), folder, environ)
    try:
        yield process
    finally:
        await process.stop()
        process.assert_clean()


def asked_with(server: AuthorizationServer) -> list[str]:
    return [asked.form["refresh_token"] for asked in server.asked_at("/token")]


@pytest.mark.case("R-375")
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
async def test_a_restart_goes_on_with_the_rotated_refresh_token(tmp_path: Path, end: signal.Signals):
    async with AuthorizationServer() as server:
        server.script(*(token(refresh_token=f"canary-r{number}") for number in (1, 2, 3)))
        for number in (1, 2):
            async with proxy(tmp_path, server) as process:
                await process.until_logged("renewal")
                assert not process.logged("grants_in_memory")
                assert b"The store is memory" not in (await process.admin_get("/")).body
                assert b'store_errors_total{operation="save"} 0' in (await process.admin_get("/metrics")).body
                process.signal(end)
                await process.exit_status()
            assert number == server.T
        async with proxy(tmp_path, server, seed="canary-another-seed") as process:
            await process.until_logged("renewal")

        assert asked_with(server) == ["canary-seed", "canary-r1", "canary-another-seed"]
        grants = tmp_path / ".local" / "state" / "iclient-proxy" / "grants"
        assert sorted(file.name for file in grants.iterdir()) == ["crm.grant", "crm.previous", "lock"]
        assert not any(b"canary" in file.read_bytes() for file in grants.iterdir())


async def test_a_second_proxy_on_the_same_store_does_not_start(tmp_path: Path):
    async with AuthorizationServer() as server:
        server.script(token(refresh_token="canary-r1"))
        async with proxy(tmp_path, server) as first:
            await first.until_logged("renewal")
            async with proxy(tmp_path, server) as second:
                assert await second.exit_status() == 71
                assert "grants is in use by another proxy" in second.output
        assert server.T == 1


async def test_a_grant_in_memory_is_warned_of_at_the_start(tmp_path: Path):
    async with AuthorizationServer() as server:
        server.script(token(refresh_token="canary-r1"))
        async with proxy(tmp_path, server, kind="memory") as process:
            await process.until_logged("grants_in_memory", connections="crm")
            await process.until_listening()
            assert b"The store is memory" in (await process.admin_get("/")).body


async def test_a_connection_that_a_reload_changes_goes_on_with_its_grant(tmp_path: Path):
    async with AuthorizationServer() as server:
        server.script(token(refresh_token="canary-r1"), token(refresh_token="canary-r2"))
        async with proxy(tmp_path, server) as process:
            await process.until_logged("renewal")
            changed = definitions(server, {"kind": "file"})
            changed["connections"]["crm"]["required"] = True
            (tmp_path / "definitions.yaml").write_text(json.dumps(changed))
            process.signal(signal.SIGHUP)
            await process.until_logged("reload", outcome="applied", changed="crm")
            await process.until_logged("renewal", 2)
            changed["store"] = {"kind": "file", "path": str(tmp_path / "elsewhere")}
            (tmp_path / "definitions.yaml").write_text(json.dumps(changed))
            process.signal(signal.SIGHUP)
            await process.until_logged("restart_needed", settings="store")

        assert asked_with(server) == ["canary-seed", "canary-r1"]
        assert not (tmp_path / "elsewhere").exists()
