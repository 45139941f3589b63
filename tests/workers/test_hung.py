"""A worker that hangs: readiness tells, it is ended and begun anew; one that was merely held up is left alone."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.deadline import eventually
from tests.support.scripts import response
from tests.support.waits import all_stand_still
from tests.workers.conftest import SIZE, all_of, children, is_gone, kill

if TYPE_CHECKING:
    from tests.support.client import Client
    from tests.support.upstream import Request
    from tests.workers.conftest import Play, WithWorkers

pytestmark = pytest.mark.timeout(120)

QUICK = {"every": 0.25, "silent": 1.0, "hung": 4.0}


async def assert_serves(made: WithWorkers) -> None:
    for client in (await made.streams_of_all()).values():
        assert (await client.ask(made.case.request())).status == 200


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGUSR1], ids=["stopped", "stuck"])
async def test_a_worker_that_hangs_is_ended_and_begun_anew_and_readiness_tells(play: Play, number: signal.Signals):
    made = await play(rhythm=QUICK)
    process, victim = made.process, made.pids()[1]
    await assert_serves(made)

    kill(victim, number)
    await process.until_logged("worker", outcome="silent", number=1, pid=victim)
    during = await process.admin_get("/readyz?verbose")
    up = await process.metric('worker_up{worker="1"}')
    await process.until_logged("worker", outcome="hung", number=1, pid=victim)
    ended = await process.until_logged("worker", outcome="ended", number=1)
    await process.until_logged("worker", 2, outcome="serving", number=1)
    await eventually("all workers", made.is_ready)

    assert (during.status, b"workers (awaited)" in during.body, up) == (503, True, 0)
    assert (ended["status"], "again_in" in ended) == ("SIGKILL", True)
    assert is_gone(victim)
    assert await process.metric('worker_up{worker="1"}') == 1
    assert await process.metric('worker_starts_total{worker="1"}') == 2
    assert await process.metric('worker_starts_total{worker="2"}') == 1
    await assert_serves(made)
    assert made.case.token_requests == 1


async def test_requests_of_the_others_go_on_while_one_hangs(play: Play):
    made = await play(rhythm=QUICK)
    streams = await made.streams_of_all()
    gate = asyncio.Event()

    async def hold(request: Request) -> None:
        await gate.wait()
        await request.send(response())

    made.case.upstream.always(hold)
    asking = [asyncio.create_task(_outcome(client, made)) for client in streams.values()]
    await made.case.upstream.arrived(SIZE)
    kill(made.pids()[1], signal.SIGSTOP)
    await made.process.until_logged("worker", outcome="ended", number=1)
    gate.set()

    assert sorted(await all_of(*asking)) == ["200", "gone"]


async def _outcome(client: Client, made: WithWorkers) -> str:
    try:
        return str((await client.ask(made.case.request())).status)
    except (AssertionError, ConnectionError, EOFError):
        return "gone"


async def test_a_worker_that_answers_again_is_ready_again_and_lives_on(play: Play):
    made = await play(rhythm={**QUICK, "hung": 60.0})
    process, victim = made.process, made.pids()[1]
    kill(victim, signal.SIGSTOP)
    await process.until_logged("worker", outcome="silent", number=1)
    assert not await made.is_ready()

    kill(victim, signal.SIGCONT)
    await process.until_logged("worker", outcome="answers", number=1, pid=victim)

    await eventually("all workers", made.is_ready)
    await assert_serves(made)
    assert not process.logged("worker", outcome="ended")


async def test_a_machine_that_was_suspended_costs_no_worker(play: Play):
    made = await play(rhythm={"every": 2.0, "silent": 2.0, "hung": 4.0})
    process, pids = made.process, list(made.pids().values())
    for pid in pids:
        kill(pid, signal.SIGSTOP)
    await process.until_logged("worker", outcome="silent", number=1)  # at the next look it would be hung

    await all_stand_still(process, pids, 4.0)
    await process.until_logged("worker", outcome="answers", number=1)
    await process.until_logged("worker", outcome="answers", number=2)

    await assert_serves(made)
    assert not process.logged("worker", outcome="hung")
    assert not process.logged("worker", outcome="ended")


async def test_a_worker_that_hangs_before_it_serves_is_begun_anew(play: Play):
    made = await play(rhythm={**QUICK, "begin": 6.0})
    process = made.process
    kill(made.pids()[1], signal.SIGKILL)
    await process.until_logged("worker", outcome="ended", number=1)
    begun = await _begun(made)
    kill(begun, signal.SIGSTOP)

    await process.until_logged("worker", outcome="hung", number=1, pid=begun)
    await process.until_logged("worker", 2, outcome="serving", number=1)

    await eventually("all workers", made.is_ready)
    await assert_serves(made)


async def _begun(made: WithWorkers) -> int:
    """Return the process of the worker that has begun, and does not serve yet."""
    found: list[int] = []

    def there() -> bool:
        found[:] = set(children(made.process.pid)) - set(made.pids().values())
        return bool(found)

    await eventually("another worker", there)
    return found[0]


async def test_a_worker_that_hangs_does_not_keep_a_drain_from_its_end(play: Play):
    made = await play(rhythm=QUICK, shutdown={"drain_delay": "10ms", "grace": "1h"})
    victim = made.pids()[2]
    kill(victim, signal.SIGSTOP)

    made.process.signal()

    assert await made.process.exit_status(30) == 0
    assert made.process.logged("worker", outcome="hung", number=2)
    assert len(made.process.logged("worker", outcome="serving", number=2)) == 1
    assert is_gone(victim)
