"""No file left for anything new: what has one goes on, the rest is told so, and a second later all is well."""

from __future__ import annotations

import re
import resource
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from tests.lifecycle.test_machine import played
from tests.support.client import Client
from tests.support.deadline import eventually
from tests.support.destination import Destination
from tests.support.scripts import OK_BODY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.process import Process
    from tests.support.stage import Case

LISTENERS = {name: {"bind": "127.0.0.1:0"} for name in ("reverse", "forward", "admin")}
SOON = 1.0  # seconds after which it must have recovered
FILES = 64


@contextmanager
def no_file_left(process: Process) -> Iterator[None]:
    """Let the process open nothing more: its limit is below what it has."""
    before = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        yield
    finally:
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, before)


async def served(case: Case) -> bool:
    with suppress(AssertionError, ConnectionError):
        client = await Client.connect(case.stage.process.reverse)
        try:
            return (await client.ask(case.request())).body == OK_BODY
        finally:
            await client.close()
    return False


async def test_room_for_files_is_made_before_a_crowd_comes(tmp_path: Path):
    async with played(tmp_path) as case:
        status = case.stage.process.status()

        [room] = re.findall(r"^FDSize:\s+(\d+)$", status, re.MULTILINE)
        assert int(room) >= min(16_384, resource.getrlimit(resource.RLIMIT_NOFILE)[1])


@pytest.mark.case("L-281")
async def test_without_files_what_is_open_goes_on_and_the_log_does_not_flood(tmp_path: Path):
    async with played(tmp_path, log={"access": False}) as case:
        process = case.stage.process
        client = await case.warm()
        operator = await case.connect(process.admin)
        probe = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
        assert (await operator.ask(probe)).status == 200
        lines = len(process.lines)
        with no_file_left(process):
            for _ in range(50):
                with suppress(ConnectionError):
                    await case.connect()
                assert (await client.ask(case.request())).body == OK_BODY
                assert (await operator.ask(probe)).status == 200
        await eventually("a place", lambda: served(case), SOON)

        assert len(process.lines) - lines <= 2, process.lines[lines:]


@pytest.mark.case("L-281")
async def test_without_files_who_needs_a_new_stream_to_the_upstream_is_told_that_we_are_overloaded(tmp_path: Path):
    async with played(tmp_path, listeners=LISTENERS, log={"access": False}) as case, Destination() as far:
        process = case.stage.process
        await case.warm()
        one, two = await case.connect(), await case.connect()
        tunnel = await case.connect(process.listening["forward"][0])
        for client in (one, two):
            await client.ask(case.request())
        case.upstream.shut()
        for stream in case.upstream.streams:
            stream.transport.abort()
        await case.upstream.reopen()
        with no_file_left(process):
            for _ in range(2):
                refused = await one.ask(case.request())
                assert (refused.status, refused.code) == (503, "overloaded")
                assert int(refused.values(b"retry-after")[0]) >= 1
            blind = await tunnel.ask(b"CONNECT %b HTTP/1.1\r\nHost: x\r\n\r\n" % far.authority)
            assert (blind.status, blind.code) == (503, "overloaded")
        assert (await two.ask(case.request())).body == OK_BODY


@pytest.mark.case("L-281")
async def test_without_files_there_is_no_token_and_a_moment_later_there_is(tmp_path: Path):
    limits = {"backoff": {"min": "100ms", "max": "200ms"}, "token_wait": "300ms"}
    async with played(tmp_path, limits=limits, log={"access": False}) as case:
        client = await case.connect()
        await client.ask(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n")  # it is accepted by now
        with no_file_left(case.stage.process):
            refused = await client.ask(case.request())
            assert (refused.status, refused.code) == (503, "token_unavailable")

        await eventually("a token", lambda: served(case), SOON + 1)
        assert case.token_requests == 1


@pytest.mark.case("L-281", "A-358")
@pytest.mark.needs("prlimit")
async def test_who_opens_streams_to_the_admin_listener_keeps_neither_probes_nor_requests_out(tmp_path: Path):
    async with played(tmp_path, "prlimit", f"--nofile={FILES}:{FILES}", log={"access": False}) as case:
        process = case.stage.process
        client = await case.warm()
        for _ in range(3 * FILES):
            with suppress(ConnectionError):
                await case.connect(process.admin)
            assert (await process.admin_get("/livez")).status == 200

        assert (await client.ask(case.request())).body == OK_BODY
        assert await served(case)
        assert (await process.admin_get("/metrics")).status == 200
