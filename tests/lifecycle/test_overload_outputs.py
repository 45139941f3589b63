"""A log that nobody takes, a disk that takes nothing: requests do not notice, what is lost is counted, it recovers."""

from __future__ import annotations

import os
import re
import resource
import threading
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from tests.chaos.kills import victim_on_disk
from tests.support.client import Client
from tests.support.deadline import eventually
from tests.support.scripts import OK_BODY
from tests.support.stage import Case, Stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.support.process import Process

REQUEST = b"GET /c0/x HTTP/1.1\r\nHost: localhost\r\n\r\n"
SOME = 1_000
MANY = 9_500  # more than the log's queue and a pipe hold together
AT_ONCE = 100


class Loud:
    """The product with its log going elsewhere; it says nothing of itself here, so it listens where it was told to."""

    def __init__(self, folder: Path, stage: Stage, case: Case) -> None:
        self.stage = stage
        self.case = case
        self._reverse, self._admin = str(folder / "r"), str(folder / "a")

    async def flood(self, requests: int) -> None:
        """Make many requests, each of which is a line of the log."""
        client = await Client.connect(self._reverse)
        for _ in range(requests // AT_ONCE):
            await client.send(REQUEST * AT_ONCE)
            for _ in range(AT_ONCE):
                answered = await client.response()
                assert (answered.status, answered.body) == (200, OK_BODY)
        await client.close()

    async def dropped(self) -> int:
        client = await Client.connect(self._admin)
        answered = await client.ask(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        await client.close()
        [line] = [
            each for each in answered.body.splitlines() if each.startswith(b"iclient_proxy_log_lines_dropped_total ")
        ]
        return int(line.split()[1])


@asynccontextmanager
async def loud(folder: Path, output: str) -> AsyncIterator[Loud]:
    reverse, admin = folder / "r", folder / "a"
    listeners = {"reverse": {"bind": f"unix:{reverse}"}, "admin": {"bind": f"unix:{admin}"}}
    stage = Stage({"c0": {}}, {"listeners": listeners})
    stage.within = ("sh", "-c", f'exec "$@" >{output}', "sh")
    await stage.start(folder, serving=False)
    try:
        await eventually("the listeners", lambda: reverse.is_socket() and admin.is_socket())
        case = await stage.case("c0")
        try:
            yield Loud(folder, stage, case)
        finally:
            await case.close()
        stage.process.signal()
        assert await stage.process.exit_status() == 0
    finally:
        await stage.close()


@contextmanager
def pipe(path: Path) -> Iterator[int]:
    """Make a named pipe and hold its reading end."""
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield reading
    finally:
        with suppress(OSError):
            os.close(reading)


@pytest.mark.case("L-287")
async def test_a_full_disk_under_the_log_costs_no_request_and_its_lines_are_counted(tmp_path: Path):
    async with loud(tmp_path, "/dev/full") as on:
        await on.flood(SOME)

        async def all_counted() -> bool:
            return await on.dropped() >= SOME

        await eventually("every line that is missing, counted", all_counted)  # lines are written in batches
        assert await on.dropped() >= SOME


@pytest.mark.case("L-287")
async def test_a_pipe_that_nobody_reads_costs_no_request_and_once_it_is_read_the_log_says_what_is_missing(
    tmp_path: Path,
):
    with pipe(tmp_path / "log") as reading:
        async with loud(tmp_path, str(tmp_path / "log")) as on:
            await on.flood(MANY)
            assert await on.dropped() > 0
            os.set_blocking(reading, True)
            found = bytearray()

            def read() -> None:
                while piece := os.read(reading, 1 << 16):
                    found.extend(piece)

            reader = threading.Thread(target=read)
            reader.start()
            await eventually("the words of the log about it", lambda: b'"log_lines_dropped"' in found)
            dropped = await on.dropped()  # the last lines of the flood waited for others, and met a queue that was full
        reader.join()

        told = sum(map(int, re.findall(rb'\{"event":"log_lines_dropped","lines":(\d+),', found)))
        assert told == dropped
        assert found.count(b'"event":"exchange"') + dropped >= MANY


@pytest.mark.case("L-287")
async def test_a_reader_of_the_log_that_leaves_costs_no_request(tmp_path: Path):
    with pipe(tmp_path / "log") as reading:
        async with loud(tmp_path, str(tmp_path / "log")) as on:
            os.close(reading)
            await on.flood(SOME)

            assert await on.dropped() > SOME // 2


@contextmanager
def full_disk(process: Process) -> Iterator[None]:
    """Let no file of the process grow."""
    before = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, before)


@pytest.mark.case("L-287", "R-375")
async def test_a_grant_that_a_full_disk_did_not_take_is_saved_with_the_next_renewal_when_there_is_room(tmp_path: Path):
    async with victim_on_disk(tmp_path, grace=False) as victim:
        victim.plant()
        await victim.start()
        try:
            assert (await victim.ask()).status == 200
            with full_disk(victim.process):
                for _ in range(3):
                    assert (await victim.renew()).status == 200
                assert (await victim.ask()).status == 200
                said = await victim.process.until_logged("store")
                assert (said["outcome"], said["level"]) == ("not_saved", "error")
            assert await victim.process.metric('store_errors_total{operation="save"}') >= 3
            assert (await victim.renew()).status == 200
        finally:
            await victim.end()
        await victim.start()
        try:
            assert (await victim.ask()).status == 200
        finally:
            await victim.end()

        assert victim.server.uses(victim.family) == list(range(len(victim.server.uses(victim.family))))
