"""Grants of a proxy with workers: the main process alone keeps them, in files, in Redis, and from a human's hand."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.lifecycle.test_restart import KEY, asked_with
from tests.support.authorization_server import AuthorizationServer, error, token
from tests.support.client import Client
from tests.support.deadline import eventually
from tests.support.process import Process
from tests.support.redis_server import redis_server
from tests.support.scripts import OK_BODY
from tests.support.upstream import Upstream, listen
from tests.workers.conftest import SIZE, all_of, children, is_gone, memory_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.client import Response

pytestmark = pytest.mark.timeout(120)

ENVIRON: Final = {"CLIENT_SECRET": "canary-secret", "SEED": "canary-seed", "ICLIENT_PROXY_KEY": KEY}


class Shop:
    """An API and its authorization server; each proxy of theirs has workers and the connection `crm`."""

    def __init__(self, server: AuthorizationServer, upstream: Upstream) -> None:
        self.server = server
        self.upstream = upstream

    def definitions(self, store: dict[str, Any], **iclient: Any) -> dict[str, Any]:
        own = {
            "grant_type": "refresh_token",
            "client_id": "app",
            "client_secret": {"env": "CLIENT_SECRET"},
            "token_url": self.server.url,
            "valid_domains": [self.server.authority],
            "allow_insecure": True,
            **iclient,
        }
        crm: dict[str, Any] = {"base_url": f"http://127.0.0.1:{self.upstream.port}", "iclient": own}
        if own["grant_type"] == "refresh_token":
            crm["refresh_token"] = {"env": "SEED"}
        return {
            "workers": SIZE,
            "listeners": {"reverse": {"bind": "127.0.0.1:0"}, "admin": {"bind": "127.0.0.1:0"}},
            "shutdown": {"drain_delay": "10ms", "grace": "5s"},
            "store": store,
            "connections": {"crm": crm},
        }

    @asynccontextmanager
    async def proxy(self, folder: Path, store: dict[str, Any], **iclient: Any) -> AsyncIterator[Process]:
        """Run one until the end of the block; all workers serve."""
        await asyncio.to_thread(folder.mkdir, exist_ok=True)
        process = await Process.start(self.definitions(store, **iclient), folder, ENVIRON)
        try:
            await process.until_listening()
            await process.until_logged("worker", SIZE, outcome="serving")
            yield process
        finally:
            await process.stop()
            process.assert_clean()


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    upstream = Upstream(listen())
    await upstream.start()
    async with AuthorizationServer() as server:
        yield Shop(server, upstream)
    await upstream.close()


async def ask(process: Process, client: Client | None = None) -> Response:
    client = client or await Client.connect(process.reverse)
    try:
        return await client.ask(b"GET /crm/x HTTP/1.1\r\nHost: %s:%d\r\n\r\n" % (b"127.0.0.1", process.reverse[1]))
    finally:
        await client.close()


async def asked_by_each(process: Process) -> list[int]:
    """Ask until each worker has served something; return the statuses."""
    statuses: list[int] = []

    async def all_have() -> bool:
        statuses.append((await ask(process)).status)
        told = process.logged("exchange", connection="crm")
        return len({line["request_id"].partition("-")[0] for line in told}) == SIZE

    await eventually("an answer of each worker", all_have, 60.0)
    return statuses


async def test_the_grants_in_files_are_the_main_process_s_and_outlive_it(shop: Shop, tmp_path: Path):
    shop.server.script(*(token(refresh_token=f"canary-r{number}") for number in (1, 2, 3)))
    for end in (signal.SIGTERM, signal.SIGKILL):
        async with shop.proxy(tmp_path, {"kind": "file"}) as process:
            assert set(await asked_by_each(process)) == {200}
            workers = children(process.pid)
            process.signal(end)
            await process.exit_status()
            await eventually("the end of the workers", lambda pids=workers: all(is_gone(pid) for pid in pids))
    async with shop.proxy(tmp_path, {"kind": "file"}) as process:
        assert set(await asked_by_each(process)) == {200}

    assert asked_with(shop.server) == ["canary-seed", "canary-r1", "canary-r2"]


async def test_a_refusal_that_every_worker_sees_rotates_the_grant_once(shop: Shop, tmp_path: Path):
    shop.server.script(*(token(f"canary-t{n}", refresh_token=f"canary-r{n}") for n in (1, 2)))
    async with shop.proxy(tmp_path, {"kind": "file"}) as process:
        await asked_by_each(process)
        shop.upstream.refused_tokens.add("canary-t1")

        answers = await all_of(*(ask(process) for _ in range(16)))

        assert {each.status for each in answers} == {200}
        assert asked_with(shop.server) == ["canary-seed", "canary-r1"]
        assert await process.metric('grant_at_risk{connection="crm"}') == 0


@pytest.mark.needs("redis-server")
async def test_replicas_with_workers_share_one_grant_and_one_renewal(shop: Shop, tmp_path: Path):
    shop.server.script(*(token(f"canary-t{n}", refresh_token=f"canary-r{n}") for n in (1, 2)))
    async with redis_server() as redis, AsyncExitStack() as running:
        store = {"kind": "redis", "url": redis.url}
        replicas = [await running.enter_async_context(shop.proxy(tmp_path / name, store)) for name in ("a", "b")]
        for each in replicas:
            assert set(await asked_by_each(each)) == {200}
        assert asked_with(shop.server) == ["canary-seed"]
        shop.upstream.refused_tokens.add("canary-t1")

        answers = await all_of(*(ask(each) for each in replicas for _ in range(8)))

        assert {each.status for each in answers} == {200}
        assert asked_with(shop.server) == ["canary-seed", "canary-r1"]
        clients = (await redis.command("CLIENT", "LIST")).decode().splitlines()
        assert [await each.metric("store_available") for each in replicas] == [1, 1]
        if os.geteuid() == 0:  # its memory is shown to root alone
            for pid in (pid for each in replicas for pid in children(each.pid)):
                held = memory_of(pid)
                assert b"canary-t2" in held  # it would be seen
                assert KEY.encode() not in held
                assert b"canary-r2" not in held
    assert sum("cmd=subscribe" in client for client in clients) == len(replicas)  # no worker listens


@pytest.mark.needs("redis-server")
async def test_a_store_that_is_away_and_back_is_nothing_that_workers_notice(shop: Shop, tmp_path: Path):
    shop.server.script(token("canary-t1", refresh_token="canary-r1"))
    async with redis_server() as redis, shop.proxy(tmp_path, {"kind": "redis", "url": redis.url}) as process:
        await asked_by_each(process)
        await redis.kill()
        await process.until_logged("store", outcome="unavailable")
        assert {(await ask(process)).status for _ in range(8)} == {200}
        await redis.start()
        await process.until_logged("store", outcome="available")

        assert {(await ask(process)).status for _ in range(8)} == {200}
        assert not process.logged("worker", outcome="ended")


async def test_a_human_authorizes_once_and_every_worker_has_the_token(shop: Shop, tmp_path: Path):
    server = shop.server
    interactive = {
        "grant_type": "authorization_code",
        "authorization_url": server.url_of("/authorize"),
        "pkce": "S256",
    }
    server.script(token("canary-t1", refresh_token="canary-r1"), token("canary-t2", refresh_token="canary-r2"))
    async with shop.proxy(tmp_path, {"kind": "file"}, **interactive) as process:
        before = await asked_by_each(process)
        begun = await _visit(
            process,
            "/oauth/start/crm",
            "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Site: same-origin\r\n",
        )
        [to], [cookie] = begun.values(b"location"), begun.values(b"set-cookie")
        [state] = parse_qs(urlsplit(to.decode()).query)["state"]
        [redirect] = parse_qs(urlsplit(to.decode()).query)["redirect_uri"]
        path = urlsplit(redirect).path
        session = cookie.decode().partition(";")[0]
        back = await _visit(process, f"{path}?code=canary-code&state={state}", f"Cookie: {session}\r\n")
        after = await all_of(*(ask(process) for _ in range(16)))
        shop.upstream.refused_tokens.add("canary-t1")
        renewed = await all_of(*(ask(process) for _ in range(16)))

        assert (set(before), back.status) == ({503}, 303)
        assert {(each.status, each.body) for each in after + renewed} == {(200, OK_BODY)}
        assert [each.form["grant_type"] for each in server.asked] == ["authorization_code", "refresh_token"]
        await process.until_logged("exchange", 32, connection="crm", status=200)
        assert len(set(_workers(process))) == SIZE
        rows = json.loads((await process.admin_get("/api/connections")).body)
        assert [row["state"] for row in rows] == ["valid"]


def _workers(process: Process) -> list[str]:
    return [line["request_id"].partition("-")[0] for line in process.logged("exchange", connection="crm", status=200)]


async def _visit(process: Process, path: str, fields: str) -> Response:
    client = await Client.connect(process.admin)
    try:
        host = "{}:{}".format(*process.admin)
        return await client.ask(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n".encode())
    finally:
        await client.close()


async def test_a_grant_that_is_lost_is_said_by_every_worker_and_a_human_mends_it_for_all(shop: Shop, tmp_path: Path):
    shop.server.script(token("canary-t1", refresh_token="canary-r1"), error("invalid_grant"))
    async with shop.proxy(tmp_path, {"kind": "file"}) as process:
        await asked_by_each(process)
        shop.upstream.refused_tokens.add("canary-t1")
        gone = await all_of(*(ask(process) for _ in range(16)))
        again = await all_of(*(ask(process) for _ in range(16)))

        assert {each.status for each in again} == {503}
        assert {each.code for each in again} == {"authorization_required"}
        assert {each.status for each in gone} <= {401, 503}
        assert asked_with(shop.server) == ["canary-seed", "canary-r1"]


async def test_a_renewal_that_an_operator_asks_for_in_the_middle_of_traffic_costs_no_request(
    shop: Shop, tmp_path: Path
):
    shop.server.script(*(token(f"canary-t{n}", refresh_token=f"canary-r{n}") for n in range(1, 6)))
    async with shop.proxy(tmp_path, {"kind": "file"}) as process:
        await asked_by_each(process)
        done = asyncio.Event()
        seen: list[int] = []

        async def application() -> None:
            while not done.is_set():
                seen.append((await ask(process)).status)

        applications = [asyncio.create_task(application()) for _ in range(4)]
        for _ in range(4):
            assert (await process.admin_post("/api/connections/crm/renew")).status == 200
        done.set()
        await asyncio.gather(*applications)

        assert set(seen) == {200}
        assert len(shop.server.asked) == 5
