"""SIGHUP: what the operator wrote is read again; what did not change lives on, and a fault changes nothing."""

from __future__ import annotations

import asyncio
import json
import signal
from contextlib import AsyncExitStack
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.lifecycle.applications import Applications
from tests.support.client import Client
from tests.support.deadline import awaiting, eventually
from tests.support.scripts import OK_BODY, replies, response
from tests.support.stage import SECRET, Case, Stage
from tests.support.upstream import listen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    Open = Callable[..., Awaitable["Scene"]]

NAMES = ("c0", "c1")
NEW_SECRET = "canary-secret-after-the-reload"


class Scene:
    """A running product, its two connections, and the file that its operator edits."""

    def __init__(self, stage: Stage, folder: Path, written: dict[str, Any]) -> None:
        self.stage = stage
        self.folder = folder
        self.definitions = written
        self.clients: list[Client] = []

    async def start(self) -> None:
        await self.stage.start(self.folder)
        self.c0, self.c1 = [await self.stage.case(name) for name in NAMES]

    @property
    def process(self) -> Any:
        return self.stage.process

    def write(self, definitions: dict[str, Any] | str, file: str = "definitions.yaml") -> None:
        text = definitions if isinstance(definitions, str) else json.dumps(definitions, indent=1)
        (self.folder / file).write_text(text)

    async def reload(self, definitions: dict[str, Any] | str | None = None, outcome: str = "applied") -> dict[str, Any]:
        """Write the definitions, send SIGHUP and wait for the line about the reload, which has that outcome."""
        if definitions is not None:
            self.write(definitions)
        times = len(self.process.logged("reload")) + 1
        self.process.signal(signal.SIGHUP)
        line: dict[str, Any] = await self.process.until_logged("reload", times)
        assert line["outcome"] == outcome, line
        return line

    def changed(self, name: str, **settings: Any) -> dict[str, Any]:
        """Return the definitions with these settings of one connection changed."""
        definitions = deepcopy(self.definitions)
        definitions["connections"][name].update(settings)
        return definitions

    def without(self, name: str) -> dict[str, Any]:
        definitions = deepcopy(self.definitions)
        del definitions["connections"][name]
        return definitions

    async def connect(self, address: tuple[str, int]) -> Client:
        client = await Client.connect(address)
        self.clients.append(client)
        return client

    async def successful(self) -> float:
        found: float = await self.process.metric("config_last_reload_successful")
        return found

    async def close(self) -> None:
        for client in self.clients:
            await client.close()
        for case in (self.c0, self.c1):
            await case.close()


@pytest_asyncio.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Open]:
    """Start the product with two connections; everything is closed after the test."""
    async with AsyncExitStack() as after:

        async def start(connection: dict[str, Any] | None = None, **settings: Any) -> Scene:
            stage = Stage({name: connection or {} for name in NAMES}, settings)
            opened = Scene(stage, tmp_path, stage.definitions())
            await opened.start()
            after.push_async_callback(stage.close)
            after.push_async_callback(opened.close)
            return opened

        yield start


def header(value: str) -> dict[str, Any]:
    return {"headers": {"X-Version": value}}


def version(case: Case) -> list[bytes]:
    """Return what the upstream saw of the header that tells definitions apart."""
    return case.upstream.requests[-1].values(b"x-version")


@pytest.mark.case("C-24")
@pytest.mark.parametrize(
    ("broken", "code"),
    [
        ("connections: [", "yaml"),
        ("connections:\n  c0: {base_url: 'http://127.0.0.1:1', no_such_key: canary-in-a-value}\n", "unknown_key"),
        ("", "config_empty"),
    ],
    ids=["half a file", "a key that is not known", "an empty file"],
)
async def test_a_broken_file_changes_nothing_and_a_mended_one_is_applied(scene: Open, broken: str, code: str):
    on = await scene()
    clients = [await case.warm() for case in (on.c0, on.c1)]
    began = await on.process.metric("config_last_reload_success_timestamp_seconds")
    assert await on.successful() == 1
    assert began > 0

    line = await on.reload(broken, "rejected")
    assert code in line["faults"]
    assert "definitions.yaml" in line["faults"]
    assert line["count"] >= 1
    assert await on.successful() == 0
    assert await on.process.metric("config_last_reload_success_timestamp_seconds") == began
    for case, client in zip((on.c0, on.c1), clients, strict=True):
        assert (await client.ask(case.request())).status == 200

    line = await on.reload(on.changed("c1", **header("2")))
    assert (line["kept"], line["changed"], line["added"], line["removed"]) == (1, "c1", "", "")
    assert await on.successful() == 1
    assert await on.process.metric("config_last_reload_success_timestamp_seconds") > began
    for case, client in zip((on.c0, on.c1), clients, strict=True):
        assert (await client.ask(case.request())).status == 200
    assert version(on.c1) == [b"2"]
    assert (on.c0.token_requests, on.c1.token_requests) == (1, 2)
    assert {request.token for request in on.c0.upstream.requests} == {on.c0.token(1)}
    assert len(on.c0.upstream.streams) == 1  # its pool lives on, too


async def test_the_same_definitions_again_change_nothing(scene: Open):
    on = await scene()
    clients = [await case.warm() for case in (on.c0, on.c1)]
    line = await on.reload()
    assert (line["kept"], line["changed"], line["added"], line["removed"]) == (2, "", "", "")
    for case, client in zip((on.c0, on.c1), clients, strict=True):
        assert (await client.ask(case.request())).status == 200
        assert (case.token_requests, len(case.upstream.streams)) == (1, 1)


@pytest.mark.case("C-25")
async def test_a_changed_client_secret_costs_only_its_own_connection_a_token(scene: Open, tmp_path: Path):
    secret = tmp_path / "secret"
    secret.touch(0o600)
    secret.write_text(SECRET)
    on = await scene()
    client_of_c1 = on.definitions["connections"]["c1"]["iclient"]
    client_of_c1["client_secret"] = {"file": "secret"}
    assert (await on.reload(on.definitions))["kept"] == 2  # where a secret comes from is no change of it
    kept, client = await on.c0.warm(), await on.c1.warm()
    gate = asyncio.Event()
    on.c1.upstream.answers(replies(gate, response(b"late")))
    await client.send(on.c1.request())
    under_way = await on.c1.upstream.arrived()

    secret.write_text(NEW_SECRET)
    on.stage.tokens.secrets["c1"] = NEW_SECRET
    assert (await on.reload())["changed"] == "c1"
    assert on.c1.token_requests == 1  # the next use brings the token, not the reload

    gate.set()
    finished = await client.response()
    assert (finished.status, finished.body, under_way.token) == (200, b"late", on.c1.token(1))
    async with awaiting("the end of a stream of the old pool"):
        await under_way.gone()
    assert (await client.ask(on.c1.request())).status == 200
    assert on.c1.upstream.requests[-1].token == on.c1.token(2)
    assert (await kept.ask(on.c0.request())).status == 200
    assert (on.c0.token_requests, on.c1.token_requests) == (1, 2)
    assert on.c0.upstream.requests[-1].token == on.c0.token(1)


@pytest.mark.case("C-25")
async def test_a_changed_scope_costs_only_its_own_connection_a_token_and_counters_go_on(scene: Open):
    on = await scene()
    kept, client = await on.c0.warm(), await on.c1.warm()
    await on.reload(on.changed("c1", scopes=["read"]))
    assert (await client.ask(on.c1.request())).status == 200
    assert (await kept.ask(on.c0.request())).status == 200
    assert (on.c0.token_requests, on.c1.token_requests) == (1, 2)
    assert await on.process.metric('requests_total{connection="c1",code="200"}') == 2
    assert await on.process.metric('requests_total{connection="c0",code="200"}') == 2
    labels = 'connection="c1",grant="client_credentials",outcome="ok"'
    assert await on.process.metric(f"token_requests_total{{{labels}}}") == 2


@pytest.mark.case("C-25", "R-393")
async def test_a_request_that_waits_for_a_token_when_its_connection_changes_still_gets_it(scene: Open):
    on = await scene()
    gate = on.stage.tokens.held["c1"] = asyncio.Event()
    client = await on.c1.connect()
    await client.send(on.c1.request())
    async with awaiting("the token request"):
        await on.stage.tokens.asked_by("c1", 1)
    await on.reload(on.changed("c1", **header("2")))
    gate.set()
    assert (await client.response()).status == 200
    assert (on.c1.upstream.requests[-1].token, version(on.c1)) == (on.c1.token(1), [])
    assert (await client.ask(on.c1.request())).status == 200
    assert (on.c1.upstream.requests[-1].token, version(on.c1)) == (on.c1.token(2), [b"2"])
    assert on.c1.token_requests == 2


@pytest.mark.case("R-393")
async def test_a_token_that_comes_after_its_connection_is_gone_is_dropped(scene: Open):
    on = await scene({"prefetch": True})
    await on.stage.tokens.asked_by("c1", 1)
    gate = on.stage.tokens.held["c1"] = asyncio.Event()
    line = await on.reload(on.changed("c1", **header("2")))  # its keeper begins anew, and asks again
    async with awaiting("the token request of the new keeper"):
        await on.stage.tokens.asked_by("c1", 2)
    line = await on.reload(on.without("c1"))
    assert line["removed"] == "c1"
    gate.set()
    client = await on.c1.connect()
    assert (await client.ask(on.c1.request())).code == "no_route"
    del on.stage.tokens.held["c1"]
    await on.reload(on.definitions)
    assert (await client.ask(on.c1.request())).status == 200
    assert on.c1.upstream.requests[-1].token == on.c1.token(3)
    assert on.c1.token_requests == 3


async def test_a_route_goes_and_comes_on_a_stream_that_stays_open(scene: Open):
    on = await scene()
    client = await on.c1.warm()
    [upstream] = on.c1.upstream.streams
    line = await on.reload(on.without("c1"))
    assert line["removed"] == "c1"
    refused = await client.ask(on.c1.request())
    assert (refused.status, refused.code) == (404, "no_route")
    async with awaiting("the end of an idle stream of the old pool"):
        await upstream.lost.wait()
    names = [each["name"] for each in json.loads((await on.process.admin_get("/api/connections")).body)]
    assert names == ["c0"]
    line = await on.reload(on.definitions)
    assert line["added"] == "c1"
    assert (await client.ask(on.c1.request())).status == 200
    assert (await client.ask(on.c0.request())).status == 200
    assert on.c1.token_requests == 2


async def test_a_port_of_ones_own_opens_and_closes(scene: Open):
    on = await scene()
    own = {"route": {"prefix": "/", "bind": "127.0.0.1:0"}}
    await on.reload(on.changed("c1", **own))
    await on.process.until_listening("route")
    [address] = on.process.listening["route"]
    idle, client = await on.connect(address), await on.connect(address)
    request = b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for each in (idle, client):
        assert (await each.ask(request)).status == 200
    gate = asyncio.Event()
    on.c1.upstream.answers(replies(gate, response(b"late")))
    await client.send(request)
    await on.c1.upstream.arrived(3)
    await on.reload(on.definitions)
    assert await idle.is_closed()
    with pytest.raises(ConnectionRefusedError):
        await Client.connect(address)
    gate.set()
    assert (await client.response()).body == b"late"
    assert await client.is_closed()
    assert (await on.c1.ask(on.c1.request())).status == 200  # back on the shared listener


@pytest.mark.case("C-24", "L-295")
async def test_a_new_listener_that_cannot_be_bound_rejects_the_whole_reload(scene: Open):
    on = await scene()
    clients = [await case.warm() for case in (on.c0, on.c1)]
    began = len(on.process.events)
    with listen() as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        wanted = on.changed("c1", route={"prefix": "/", "bind": address})
        wanted["connections"]["c0"].update(header("2"), route={"prefix": "/", "bind": "127.0.0.1:0"})  # opened first
        line = await on.reload(wanted, "rejected")
    assert "listening" not in {said["event"] for said in on.process.events[began:]}
    assert "address_in_use" in line["faults"]
    assert address in line["faults"]
    assert await on.successful() == 0
    for case, client in zip((on.c0, on.c1), clients, strict=True):
        assert (await client.ask(case.request())).status == 200
        assert version(case) == []
        assert (case.token_requests, len(case.upstream.streams)) == (1, 1)


async def test_a_host_that_is_no_longer_allowed_is_refused_on_an_open_stream(scene: Open):
    on = await scene()
    allowing = deepcopy(on.definitions)
    allowing["listeners"]["reverse"]["allowed_hosts"] = ["crm.local"]
    await on.reload(allowing)
    client = await on.c0.connect()
    request = on.c0.raw(b"GET /c0/x HTTP/1.1", b"Host: crm.local")
    for _ in range(2):
        assert (await client.ask(request)).status == 200
    await on.reload(on.definitions)
    refused = await client.ask(request)
    assert (refused.status, refused.code) == (421, "misdirected_request")


async def test_what_needs_a_restart_is_named_in_one_line_and_the_rest_is_applied(scene: Open):
    on = await scene()
    wanted = on.changed("c0", **header("2"))
    wanted |= {"limits": {"token_wait": "1s"}, "log": {"level": "warning"}, "shutdown": {"grace": "1s"}}
    await on.reload(wanted)
    [line] = on.process.logged("restart_needed")
    assert line["level"] == "warning"
    assert set(line["settings"].split(", ")) == {
        "limits.token_wait", "log.level", "shutdown.drain_delay", "shutdown.grace"
    }  # fmt: skip
    assert (await on.c0.ask(on.c0.request())).status == 200
    assert version(on.c0) == [b"2"]


@pytest.mark.case("C-23")
async def test_a_volume_of_kubernetes_is_read_through_its_link(tmp_path: Path, scene: Open):
    before, now = tmp_path / "..before", tmp_path / "..now"
    for folder in (before, now):
        folder.mkdir()
        (folder / "secret").touch(0o640)
    (tmp_path / "..data").symlink_to(before.name)
    for name in ("definitions.yaml", "secret"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    on = await scene()
    on.definitions["connections"]["c1"]["iclient"]["client_secret"] = {"file": "secret"}
    (before / "secret").write_text(f"{SECRET}\n")
    await on.reload(on.definitions)
    client = await on.c1.warm()

    (now / "secret").write_text(f"{NEW_SECRET}\n")
    (now / "definitions.yaml").write_text(json.dumps(on.changed("c0", **header("2"))))
    (tmp_path / "..next").symlink_to(now.name)
    (tmp_path / "..next").rename(tmp_path / "..data")
    on.stage.tokens.secrets["c1"] = NEW_SECRET
    assert (await on.reload())["changed"] == "c0, c1"
    assert (await client.ask(on.c1.request())).status == 200
    assert on.c1.upstream.requests[-1].token == on.c1.token(2)


@pytest.mark.case("C-24", "C-25")
async def test_reloads_under_steady_requests_lose_none(scene: Open):
    on = await scene()
    for case in (on.c0, on.c1):
        await case.warm()
    applications = Applications(case for case in (on.c0, on.c1) for _ in range(4))
    for number in range(1, 4):
        seen = on.c1.upstream_requests
        await eventually("some load", lambda seen=seen: on.c1.upstream_requests > seen + 50)
        await on.reload(on.changed("c1", **header(str(number))))
    await eventually("the last definitions", lambda: version(on.c1) == [b"3"])
    await applications.end()
    assert set(applications.statuses) == {200}
    assert applications.bodies == {OK_BODY}
    assert (on.c0.token_requests, on.c1.token_requests) == (1, 4)
    assert on.c0.upstream_requests + on.c1.upstream_requests == len(applications.statuses)
    assert {b"".join(request.values(b"x-version")) for request in on.c1.upstream.requests} == {b"", b"1", b"2", b"3"}


@pytest.mark.case("L-292")
async def test_a_storm_of_signals_becomes_a_few_reloads_and_the_last_definitions_are_in_force(scene: Open):
    on = await scene()
    client = await on.c0.warm()
    for number in range(300):
        on.write(on.changed("c1", **header(str(number))))
        on.process.signal(signal.SIGHUP)
        assert (await client.ask(on.c0.request())).status == 200
    asked = await on.c1.connect()

    async def last_one_is_in_force() -> bool:
        assert (await asked.ask(on.c1.request())).status == 200
        return version(on.c1) == [b"299"]

    await eventually("the last definitions", last_one_is_in_force)
    lines = on.process.logged("reload")
    assert 1 <= len(lines) <= 30
    assert {line["outcome"] for line in lines} <= {"applied", "rejected"}  # a file may be read half written
    assert on.c0.token_requests == 1


@pytest.mark.case("L-292")
async def test_a_proxy_that_drains_reloads_no_more(scene: Open):
    on = await scene(shutdown={"drain_delay": "10ms", "grace": "30s"})
    gate = asyncio.Event()
    on.c0.upstream.answers(replies(gate, response(b"late")))
    client = await on.c0.connect()
    await client.send(on.c0.request())
    await on.c0.upstream.arrived()
    on.process.signal()
    await on.process.until_logged("draining")
    on.write("connections: [")
    on.process.signal(signal.SIGHUP)
    gate.set()
    assert (await client.response()).body == b"late"
    assert await on.process.exit_status() == 0
    assert on.process.logged("reload") == []
