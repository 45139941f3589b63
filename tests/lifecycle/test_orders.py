"""In which order an orchestrator ends an application and the proxy beside it, and what the application still gets."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING, Final

import pytest

from tests.nightly.openloop import Load
from tests.support.deadline import awaiting, eventually
from tests.support.scripts import OK_BODY

if TYPE_CHECKING:
    from tests.lifecycle.conftest import Play
    from tests.support.stage import Case

RATE: Final = 500.0
# An application that works, is told to stop, and has some things to put in order before it does.
APPLICATION: Final = """
import signal, sys, urllib.request

def call(what):
    with urllib.request.urlopen(f"{sys.argv[1]}/{what}") as response:
        print(what, response.status, flush=True)

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
call("work")
if sys.argv[2] == "until told":
    signal.sigwait({signal.SIGTERM})
    for number in range(20):
        call(f"farewell-{number}")
"""


class Application:
    """A container beside the proxy: it calls the API through it, also while it ends."""

    def __init__(self, running: asyncio.subprocess.Process) -> None:
        self._running = running

    @classmethod
    async def start(cls, case: Case, manner: str = "until told") -> Application:
        url = "http://{}:{}".format(*case.stage.process.reverse) + case.prefix.decode()
        running = await asyncio.create_subprocess_exec(
            sys.executable, "-c", APPLICATION, url, manner,
            stdout=asyncio.subprocess.PIPE, env={"PATH": os.environ["PATH"]},
        )  # fmt: skip
        return cls(running)

    async def works(self) -> None:
        assert self._running.stdout is not None
        async with awaiting("the application's first answer"):
            assert await self._running.stdout.readline() == b"work 200\n"

    def tell(self) -> None:
        self._running.send_signal(signal.SIGTERM)

    async def end(self) -> tuple[int, list[str]]:
        """Wait for its end; return the exit status and what it has said since it began to work."""
        async with awaiting("the end of the application"):
            said, _ = await self._running.communicate()
        return self._running.returncode or 0, said.decode().splitlines()


FAREWELL = [f"farewell-{number} 200" for number in range(20)]


@pytest.mark.case("L-289")
async def test_a_native_sidecar_is_told_after_the_application_and_serves_it_to_its_last_call(play: Play):
    case = await play()
    process = case.stage.process
    application = await Application.start(case)
    await application.works()
    application.tell()

    assert await application.end() == (0, FAREWELL)
    process.signal()
    assert await process.exit_status() == 0
    assert process.logged("stopped")[0]["streams_cut"] == 0
    assert case.upstream_requests == 1 + len(FAREWELL)


@pytest.mark.case("L-289", "L-288")
async def test_a_classic_sidecar_is_told_with_the_application_and_serves_it_for_the_drain_delay(play: Play):
    case = await play(shutdown={"drain_delay": "5s", "grace": "5s"})
    process = case.stage.process
    application = await Application.start(case)
    await application.works()
    process.signal()  # before the application hears of it, which is the harder order
    await process.until_logged("draining")
    application.tell()

    assert await application.end() == (0, FAREWELL)
    assert await process.exit_status() == 0
    assert process.logged("stopped")[0]["streams_cut"] == 0


@pytest.mark.case("L-289")
@pytest.mark.needs("curl")
async def test_a_job_tells_its_classic_sidecar_that_it_is_done(play: Play):
    case = await play()
    process = case.stage.process
    job = await Application.start(case, "until done")
    await job.works()
    assert await job.end() == (0, [])
    url = "http://{}:{}/quitquitquit".format(*process.admin)
    curl = await asyncio.create_subprocess_exec(
        "curl", "--silent", "--fail", "--request", "POST", url, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await curl.communicate()

    assert (curl.returncode, said) == (0, b"draining\n")
    assert await process.exit_status() == 0


@pytest.mark.case("L-288")
async def test_whoever_is_led_elsewhere_in_the_drain_delay_sees_no_error_at_five_hundred_requests_a_second(play: Play):
    case = await play(shutdown={"drain_delay": "2s", "grace": "10s"}, log={"access": False})
    process = case.stage.process
    await case.warm()
    good = (200, OK_BODY)
    load = Load([process.reverse], RATE, lambda _: case.request(), lambda status, body: (status, body) == good)
    load.begin()
    await eventually("a second of load", lambda: load.served > RATE)
    process.signal()
    await process.until_logged("draining")
    assert (await process.admin_get("/readyz")).status == 503
    at = load.served
    await eventually("another second of load", lambda: load.served > at + RATE)
    await load.end()  # by now a balancer has taken notice

    assert load.failures == []
    assert load.served == load.sent
    assert await process.exit_status() == 0
    assert process.logged("stopped")[0]["streams_cut"] == 0
