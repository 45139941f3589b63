"""Replicas that share their grants in Redis, as operators run them: one grant, one renewal, a late server."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from tests.cli.command import iclient_proxy
from tests.lifecycle.test_restart import KEY, asked_with, definitions
from tests.support.authorization_server import AuthorizationServer, token
from tests.support.deadline import eventually
from tests.support.process import Process
from tests.support.redis_server import RedisServer, redis_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.needs("redis-server")

ENVIRON = {"CLIENT_SECRET": "canary-secret", "SEED": "canary-seed", "ICLIENT_PROXY_KEY": KEY}


@asynccontextmanager
async def replica(
    folder: Path, server: AuthorizationServer, url: str, name: str = "one", **store: Any
) -> AsyncIterator[Process]:
    """Run one, with a folder of its own."""
    own = folder / name
    own.mkdir(exist_ok=True)
    written = definitions(server, {"kind": "redis", "url": {"env": "REDIS_URL"}, **store})
    process = await Process.start(written, own, {**ENVIRON, "REDIS_URL": url})
    try:
        yield process
    finally:
        await process.stop()
        process.assert_clean()


async def state(process: Process) -> str:
    (row,) = json.loads((await process.admin_get("/api/connections")).body)
    return row["state"]


@pytest.mark.case("R-376")
async def test_replicas_share_one_token_request(tmp_path: Path):
    async with AuthorizationServer() as server, redis_server() as redis, AsyncExitStack() as running:
        server.script(token(refresh_token="canary-r1"))
        replicas = [
            await running.enter_async_context(replica(tmp_path, server, redis.url, name)) for name in ("a", "b", "c")
        ]
        for each in replicas:
            await each.until_listening("admin")

            async def has_token(process: Process = each) -> bool:
                return await state(process) == "valid"

            await eventually("a token", has_token)

        assert asked_with(server) == ["canary-seed"]
        assert [await each.metric("store_available") for each in replicas] == [1, 1, 1]
        assert [await each.metric('grant_at_risk{connection="crm"}') for each in replicas] == [0, 0, 0]
        assert not any(each.logged("grants_in_memory") for each in replicas)
        everything = b"".join(
            [b"".join(await redis.command("HGETALL", key)) for key in await redis.keys() if "grant" in key]
        )
        assert everything
        assert b"canary" not in everything


async def expiry(process: Process) -> str | None:
    (row,) = json.loads((await process.admin_get("/api/connections")).body)
    return row["expires_at"]


@pytest.mark.case("R-376")
async def test_what_one_replica_renews_the_others_use_at_once(tmp_path: Path):
    async with AuthorizationServer() as server, redis_server() as redis:
        server.script(token(refresh_token="canary-r1"), token(refresh_token="canary-r2", expires_in=7200))
        async with replica(tmp_path, server, redis.url, "a") as one, replica(tmp_path, server, redis.url, "b") as other:
            for each in (one, other):
                await each.until_listening("admin")

                async def has_token(process: Process = each) -> bool:
                    return await state(process) == "valid"

                await eventually("a token", has_token)
            before = await expiry(other)
            assert (await one.admin_post("/api/connections/crm/renew")).status == 200
            renewed = await expiry(one)
            assert renewed != before

            async def has_adopted() -> bool:
                return await expiry(other) == renewed

            await eventually("the new token of the other one", has_adopted)
        assert asked_with(server) == ["canary-seed", "canary-r1"]


async def test_a_restart_goes_on_with_the_shared_access_token(tmp_path: Path):
    async with AuthorizationServer() as server, redis_server() as redis:
        server.script(token(refresh_token="canary-r1"))
        for name in ("a", "b"):
            async with replica(tmp_path, server, redis.url, name) as process:
                await process.until_listening("admin")

                async def has_token(process: Process = process) -> bool:
                    return await state(process) == "valid"

                await eventually("a token", has_token)

        assert asked_with(server) == ["canary-seed"]


@pytest.mark.case("R-381")
async def test_without_its_server_a_proxy_starts_and_is_ready(tmp_path: Path):
    redis = RedisServer()
    try:
        async with AuthorizationServer() as server, replica(tmp_path, server, redis.url) as process:
            server.script(token(refresh_token="canary-r1"))
            await process.until_listening("admin")
            assert (await process.admin_get("/readyz")).status == 200
            assert await process.metric("store_available") == 0
            assert b"The store does not answer" in (await process.admin_get("/")).body
            await process.until_logged("store", outcome="unavailable")
            assert asked_with(server) == []

            await redis.start()
            await process.until_logged("store", outcome="available")
            assert await process.metric("store_available") == 1
            assert b"The store does not answer" not in (await process.admin_get("/")).body
            assert len(process.logged("store")) == 2
    finally:
        await redis.close()


@pytest.mark.case("R-381")
async def test_where_the_server_is_required_a_proxy_is_not_ready_before(tmp_path: Path):
    redis = RedisServer()
    try:
        async with AuthorizationServer() as server, replica(tmp_path, server, redis.url, required=True) as process:
            server.script(token(refresh_token="canary-r1"))
            await process.until_listening("admin")
            assert (await process.admin_get("/readyz")).status == 503
            assert b"store (awaited)" in (await process.admin_get("/readyz?verbose")).body
            assert (await process.admin_get("/livez")).status == 200

            await redis.start()
            await process.until_logged("store", outcome="available")
            assert (await process.admin_get("/readyz")).status == 200
    finally:
        await redis.close()


@pytest.mark.case("R-381")
async def test_once_its_server_is_there_a_proxy_does_what_it_waited_with(tmp_path: Path):
    redis = RedisServer()
    try:
        async with AuthorizationServer() as server, replica(tmp_path, server, redis.url) as process:
            server.script(token(refresh_token="canary-r1"))
            await process.until_logged("store", outcome="unavailable")
            await redis.start()

            await process.until_logged("renewal", outcome="ok")
        assert asked_with(server) == ["canary-seed"]
    finally:
        await redis.close()


async def test_by_tls_and_with_a_password_it_is_the_same(tmp_path: Path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    tls = {
        "tls-cert-file": str(tmp_path / "cert.pem"),
        "tls-key-file": str(tmp_path / "key.pem"),
        "tls-ca-cert-file": str(tmp_path / "ca.pem"),
        "tls-auth-clients": "no",
    }
    settings = {"tls": {"ca": str(tmp_path / "ca.pem")}, "required": True}
    async with AuthorizationServer() as server, redis_server(tls=tls) as redis:
        server.script(token(refresh_token="canary-r1"))
        await redis.configure("requirepass", "canary-pw")
        url = redis.tcp_url.replace("rediss://", "rediss://:canary-pw@")
        async with replica(tmp_path, server, url, **settings) as process:
            await process.until_logged("store", outcome="available")
            await process.until_logged("renewal")
            assert (await process.admin_get("/readyz")).status == 200
        async with replica(tmp_path, server, url.replace("canary-pw", "canary-other"), **settings) as process:
            await process.until_logged("store", outcome="unavailable", reason="AuthenticationError")
            await process.until_listening("admin")
            assert (await process.admin_get("/readyz")).status == 503


# ------------------------------------------------------------------------------------------------- iclient-proxy token


async def printed(tmp_path: Path, redis: RedisServer, *more: str) -> Any:
    arguments = ("token", "crm", "--config", str(tmp_path / "one" / "definitions.yaml"), *more)
    return await iclient_proxy(*arguments, environment={**ENVIRON, "REDIS_URL": redis.url}, cwd=tmp_path)


async def test_token_prints_what_the_replicas_share(tmp_path: Path):
    async with AuthorizationServer() as server, redis_server() as redis:
        server.script(token("canary-a1", refresh_token="canary-r1"))
        async with replica(tmp_path, server, redis.url) as process:
            await process.until_logged("renewal")
            expires_at = json.loads((await process.admin_get("/api/connections")).body)[0]["expires_at"]
        text = await printed(tmp_path, redis)
        data = json.loads((await printed(tmp_path, redis, "--format", "json")).out)

        assert (text.status, text.out, text.err) == (0, "canary-a1\n", "")
        assert (data["access_token"], data["expires_at"].replace("+00:00", "Z")) == ("canary-a1", expires_at)
        assert asked_with(server) == ["canary-seed"]


async def test_token_refuses_what_has_expired(tmp_path: Path):
    async with AuthorizationServer() as server, redis_server() as redis:
        server.script(token("canary-a1", refresh_token="canary-r1", expires_in=2))
        async with replica(tmp_path, server, redis.url) as process:
            await process.until_logged("renewal")

        async def refused() -> bool:
            done = await printed(tmp_path, redis)
            return done.status == 2 and not done.out and "in the store has expired" in " ".join(done.err.split())

        await eventually("its end", refused)
        assert asked_with(server) == ["canary-seed"]


async def test_token_says_why_it_has_none(tmp_path: Path):
    async with AuthorizationServer() as server, redis_server() as redis:
        async with replica(tmp_path, server, "unix:///nowhere/redis.sock") as process:
            await process.until_listening("admin")
        nothing = await printed(tmp_path, redis)
        await redis.kill()
        away = await printed(tmp_path, redis)

        assert (nothing.status, nothing.out) == (2, "")
        assert "holds no access token" in " ".join(nothing.err.split())
        assert (away.status, away.out) == (71, "")
        assert "the store can't be read" in " ".join(away.err.split())
        assert server.T == 0
