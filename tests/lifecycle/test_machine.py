"""The machine around the process: files that run out, disks that are full or read-only, signals, sockets, no rights."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import socket
import stat
import sys
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.client import Client
from tests.support.deadline import awaiting, eventually
from tests.support.destination import Destination
from tests.support.process import Process
from tests.support.scripts import response
from tests.support.stage import SECRET, Case, Stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.upstream import Request

FILES = 64
DEFINITIONS_AT_FAULT, PORT_TAKEN = 78, 71
NO_RIGHTS = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
NO_FILE_GROWS = ("prlimit", "--fsize=0:0")
KEY = base64.b64encode(bytes(range(32))).decode()


@asynccontextmanager
async def played(
    folder: Path, *within: str, environment: dict[str, str] | None = None, **settings: Any
) -> AsyncIterator[Case]:
    """Start the product under restraint, with one connection."""
    async with AsyncExitStack() as after:
        stage = Stage({"c0": {}}, settings)
        stage.within = within
        stage.environment |= environment or {}
        await stage.start(folder)
        after.push_async_callback(stage.close)
        case = await stage.case("c0")
        after.push_async_callback(case.close)
        yield case


def definitions(**listeners: dict[str, Any]) -> dict[str, Any]:
    stage = Stage({"c0": {}}, {"shutdown": {"drain_delay": "10ms", "grace": "5s"}})
    found = stage.definitions()
    stage.forsake()
    return {**found, "listeners": {"admin": {"bind": "127.0.0.1:0"}, **listeners}}


@asynccontextmanager
async def running(folder: Path, written: dict[str, Any]) -> AsyncIterator[Process]:
    process = await Process.start(written, folder, {"CLIENT_SECRET": SECRET})
    try:
        yield process
    finally:
        await process.stop()
    process.assert_clean()


# --------------------------------------------------------------------------------------------------------------- files


@pytest.mark.case("L-281")
@pytest.mark.needs("prlimit")
@pytest.mark.parametrize("connections", ["auto", 1000])
async def test_files_that_run_out_disturb_neither_who_is_there_nor_operators(tmp_path: Path, connections: str | int):
    limits = {"connections": connections}
    async with played(tmp_path, "prlimit", f"--nofile={FILES}:{FILES}", limits=limits, log={"access": False}) as case:
        process = case.stage.process
        first = await case.warm()
        before = len(process.lines)
        for _ in range(2 * FILES):
            with suppress(ConnectionError):  # some are told so, some are cut
                await case.connect()
        for _ in range(20):
            assert (await first.ask(case.request())).status == 200
            assert (await process.admin_get("/readyz")).status == 200

        assert process.open_files() <= FILES
        assert len(process.lines) - before <= 1
        for client in case.clients[1:]:
            await client.close()
        await eventually("a place that has become free", lambda: served(case))


async def served(case: Case) -> bool:
    client = await Client.connect(case.stage.process.reverse)
    try:
        return (await client.ask(case.request())).status == 200
    finally:
        await client.close()


@pytest.mark.case("L-281")
@pytest.mark.needs("prlimit")
async def test_with_few_files_requests_wait_for_a_stream_to_the_upstream_instead_of_failing(tmp_path: Path):
    gate = asyncio.Event()

    async def at_the_gate(request: Request) -> None:
        await gate.wait()
        await request.send(response())

    async with played(tmp_path, "prlimit", f"--nofile={FILES}:{FILES}", log={"access": False}) as case:
        process = case.stage.process
        await (await case.warm()).close()
        case.upstream.always(at_the_gate)
        clients = [await case.connect() for _ in range(FILES // 2 - 1)]
        for client in clients:
            await client.send(case.request())

        async def all_there() -> bool:
            return await process.metric("in_flight_requests") == len(clients)

        await eventually("all requests", all_there)
        gate.set()
        async with awaiting("all responses"):
            answers = [await client.response() for client in clients]
        assert {answered.status for answered in answers} == {200}
        assert case.upstream_requests == len(clients)


@pytest.mark.case("L-281", "F-256")
@pytest.mark.needs("prlimit")
async def test_with_few_files_tunnels_leave_what_requests_and_operators_need(tmp_path: Path):
    listeners = {name: {"bind": "127.0.0.1:0"} for name in ("reverse", "forward", "admin")}
    async with (
        played(tmp_path, "prlimit", f"--nofile={FILES}:{FILES}", listeners=listeners, log={"access": False}) as case,
        Destination() as far,
    ):
        process = case.stage.process
        heads = []
        for _ in range(FILES // 4):
            client = await case.connect(process.listening["forward"][0])
            await client.send(b"CONNECT %b HTTP/1.1\r\nHost: x\r\n\r\n" % far.authority)
            heads.append(await client.read_until(b"\r\n\r\n"))

        assert heads[0].startswith(b"HTTP/1.1 200 ")
        assert b'details="tunnel_limit"' in heads[-1]
        for _ in range(5):
            assert (await case.ask(case.request())).status == 200
            assert (await process.admin_get("/readyz")).status == 200


# --------------------------------------------------------------------------------------------------------------- disks


@pytest.mark.case("L-287", "R-375")
@pytest.mark.needs("prlimit")
async def test_a_store_on_a_full_disk_costs_no_request_and_is_counted(tmp_path: Path):
    store = {"kind": "file", "path": str(tmp_path / "grants"), "key": {"env": "KEYS"}}
    async with played(tmp_path, *NO_FILE_GROWS, environment={"KEYS": KEY}, store=store) as case:
        case.stage.tokens.members["c0"] = {"refresh_token": "canary-refresh"}

        assert (await case.ask(case.request())).status == 200
        assert await case.stage.process.metric('store_errors_total{operation="save"}') >= 1
        assert not list((tmp_path / "grants").glob("*.grant"))


@pytest.mark.case("L-287")
async def test_a_disk_that_is_full_of_logs_ends_nothing(tmp_path: Path):
    reverse, admin = str(tmp_path / "r"), str(tmp_path / "a")
    written = definitions(reverse={"bind": f"unix:{reverse}"}, admin={"bind": f"unix:{admin}"})
    process = await Process.start(
        written, tmp_path, {"CLIENT_SECRET": SECRET}, within=("sh", "-c", 'exec "$@" >/dev/full', "sh")
    )
    try:
        await eventually("the listeners", lambda: all(map(Path.is_socket, (Path(reverse), Path(admin)))))
        client = await Client.connect(reverse)
        for _ in range(200):
            assert (await client.ask(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n")).status == 404
        await client.close()
        process.signal()

        assert await process.exit_status() == 0
        assert process.lines == []
    finally:
        await process.stop()


@pytest.mark.case("L-298")
@pytest.mark.needs("setpriv")
async def test_a_folder_for_grants_that_may_not_be_written_is_named_at_the_start(tmp_path: Path):
    grants = tmp_path / "grants"
    grants.mkdir(mode=0o500)
    written = definitions(reverse={"bind": "127.0.0.1:0"})
    written["store"] = {"kind": "file", "path": str(grants), "key": {"env": "KEYS"}}
    process = await Process.start(written, tmp_path, {"CLIENT_SECRET": SECRET, "KEYS": KEY}, within=NO_RIGHTS)
    status = await process.exit_status()
    await process.stop()

    assert (status, process.listening) == (PORT_TAKEN, {})
    assert str(grants) in process.output
    process.assert_clean()


@pytest.mark.case("L-298")
@pytest.mark.needs("prlimit", "setpriv")
async def test_without_rights_without_a_home_and_without_a_byte_to_write_it_serves(tmp_path: Path):
    strange = {"TZ": "Asia/Kathmandu", "LC_ALL": "C", "HOME": "/nonexistent", "TMPDIR": "/nonexistent"}
    async with played(tmp_path, *NO_FILE_GROWS, *NO_RIGHTS, environment=strange) as case:
        process = case.stage.process
        assert (await case.ask(case.request(target="/ü".encode()))).status in {200, 400}
        assert (await case.ask(case.request())).status == 200
        assert (await process.admin_get("/metrics")).status == 200
        assert os.listdir(tmp_path) == ["definitions.yaml"]  # noqa: PTH208
        assert all(said["timestamp"].endswith("Z") for said in process.events)
        assert "CapEff:\t0000000000000000" in process.status()


# ------------------------------------------------------------------------------------------------------------- signals


@pytest.mark.case("L-293")
async def test_signals_of_pipes_children_and_windows_mean_nothing(tmp_path: Path):
    async with played(tmp_path) as case:
        client = await case.warm()
        for number in (signal.SIGPIPE, signal.SIGCHLD, signal.SIGWINCH, signal.SIGURG, signal.SIGCONT):
            case.stage.process.signal(number)
            assert (await client.ask(case.request())).status == 200


@pytest.mark.case("L-291", "L-293")
async def test_a_signal_before_there_is_a_loop_ends_the_process_in_peace(tmp_path: Path):
    # An import that the signal ends leaves its file to the interpreter, which would warn of it.
    environment = {"CLIENT_SECRET": SECRET, "PYTHONWARNINGS": ""}
    process = await Process.start(definitions(reverse={"bind": "127.0.0.1:0"}), tmp_path, environment)

    def handles_it() -> bool:
        [caught] = [line.split()[1] for line in process.status().splitlines() if line.startswith("SigCgt:")]
        return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)

    await eventually("a handler", handles_it)
    process.signal()

    assert await process.exit_status(5) == 0
    await process.stop()
    process.assert_clean()


@pytest.mark.case("L-294")
async def test_after_a_kill_it_starts_again_on_the_same_places(tmp_path: Path):
    path = tmp_path / "p.sock"
    written = definitions(reverse={"bind": f"unix:{path}"})
    written["store"] = {"kind": "file", "path": str(tmp_path / "grants"), "key": {"env": "KEYS"}}
    environment = {"CLIENT_SECRET": SECRET, "KEYS": KEY}
    for _ in range(3):
        process = await Process.start(written, tmp_path, environment)
        await process.until_listening("admin")
        client = await Client.connect(str(path))
        assert (await client.ask(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n")).status == 404
        await client.close()
        process.signal(signal.SIGKILL)
        assert await process.exit_status() == -signal.SIGKILL
        await process.stop()
        process.assert_clean()

    assert stat.S_ISSOCK(path.stat().st_mode)


@pytest.mark.case("L-286")
@pytest.mark.needs("nice")
async def test_a_starved_process_is_slow_and_makes_no_mistake(tmp_path: Path):
    async with AsyncExitStack() as after:
        case = await after.enter_async_context(played(tmp_path, "nice", "-n", "19"))
        case.stage.tokens.members["c0"] = {"expires_in": 1}
        for _ in range(2 * (os.cpu_count() or 1)):
            hog = await asyncio.create_subprocess_exec(sys.executable, "-c", "while True: pass")
            after.push_async_callback(hog.wait)
            after.callback(hog.kill)
        clients = [await case.connect() for _ in range(8)]
        for _ in range(20):
            answers = await asyncio.gather(*(client.ask(case.request()) for client in clients))
            assert {answered.status for answered in answers} == {200}

        assert case.upstream_requests == 160
        assert await case.stage.process.metric('auth_errors_total{connection="c0",rule="status-401"}') == 0


# ------------------------------------------------------------------------------------------------------------- sockets


@pytest.mark.case("L-296")
async def test_what_is_bound_is_what_was_asked_for(tmp_path: Path):
    async with running(tmp_path, definitions(reverse=[{"bind": "[::1]:0"}, {"bind": "127.0.0.1:0"}])) as process:
        await process.until_listening()
        six, four = process.listening["reverse"]
        for address in (six, four):
            client = await Client.connect(address)
            answered = await client.ask(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await client.close()
            assert answered.status == 404
        with pytest.raises(ConnectionRefusedError):
            await Client.connect(("127.0.0.1", six[1]))
        with pytest.raises(ConnectionRefusedError):
            await Client.connect(("::1", four[1]))


@pytest.mark.case("L-296", "L-295")
async def test_an_address_that_this_machine_does_not_have_is_named_and_nothing_starts(tmp_path: Path):
    async with running(tmp_path, definitions(reverse={"bind": "[2001:db8::1]:0", **GUARDED})) as process:
        assert await process.exit_status() == PORT_TAKEN
        assert "2001:db8::1" in process.output
        assert process.listening == {}


GUARDED = {"auth": {"bearer": {"env": "CLIENT_SECRET"}}}


@pytest.mark.case("L-297")
async def test_a_socket_file_that_nobody_listens_on_gives_way_and_the_new_one_is_for_its_owner_alone(tmp_path: Path):
    path = tmp_path / "p.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    async with running(tmp_path, definitions(reverse={"bind": f"unix:{path}"})) as process:
        await process.until_listening("admin")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        client = await Client.connect(str(path))
        assert (await client.ask(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n")).status == 404
        await client.close()


@pytest.mark.case("L-297")
@pytest.mark.parametrize("taken", ["a socket somebody listens on", "a file"])
async def test_what_is_in_use_at_the_path_of_a_socket_stays_and_is_named(tmp_path: Path, taken: str):
    path = tmp_path / "p.sock"
    with socket.socket(socket.AF_UNIX) as other:
        if taken == "a file":
            path.write_text("precious")
        else:
            other.bind(str(path))
            other.listen()
        async with running(tmp_path, definitions(reverse={"bind": f"unix:{path}"})) as process:
            assert await process.exit_status() == PORT_TAKEN
            assert str(path) in process.output
            assert process.listening == {}
        assert path.exists()


@pytest.mark.case("L-297")
async def test_a_socket_path_beyond_107_bytes_is_a_fault(tmp_path: Path):
    path = tmp_path / ("p" * 108)
    async with running(tmp_path, definitions(reverse={"bind": f"unix:{path}"})) as process:
        assert await process.exit_status() == DEFINITIONS_AT_FAULT
        assert "107" in process.output
