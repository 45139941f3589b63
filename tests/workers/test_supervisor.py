"""Workers of a running proxy: they share the listeners, one process keeps the tokens, who dies takes nobody along."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.deadline import eventually
from tests.support.scripts import OK_BODY, replies, response, unauthorized
from tests.support.stage import SECRET, Stage
from tests.workers.conftest import SIZE, all_of, children, is_gone, kill, shown_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.client import Client
    from tests.support.upstream import Request
    from tests.workers.conftest import Play, WithWorkers

pytestmark = pytest.mark.timeout(120)


async def test_streams_spread_over_the_workers_and_all_take_the_one_token(play: Play):
    made = await play()
    streams = await made.streams_of_all()

    answers = await all_of(*(client.ask(made.case.request()) for client in streams.values() for _ in [0]))

    assert len(streams) == SIZE
    assert {(answer.status, answer.body) for answer in answers} == {(200, OK_BODY)}
    assert {request.token for request in made.case.upstream.requests} == {made.case.token()}
    assert made.case.token_requests == 1
    assert set(children(made.process.pid)) >= set(made.pids().values())
    assert len(set(made.pids().values())) == SIZE


async def test_a_cold_start_of_all_workers_makes_one_token_request(play: Play):
    made = await play()
    held = made.stage.tokens.held["c0"] = asyncio.Event()
    streams = await made.streams_of_all()
    asking = [asyncio.create_task(client.ask(made.case.request())) for client in streams.values()]
    await made.stage.tokens.asked_by("c0", 1)
    held.set()

    assert {answer.status for answer in await all_of(*asking)} == {200}
    assert made.case.token_requests == 1


async def test_one_revoked_token_that_two_workers_see_at_once_makes_one_token_request(play: Play):
    made = await play()
    streams = await made.streams_of_all()
    for client in streams.values():
        assert (await client.ask(made.case.request())).status == 200
    both = asyncio.Event()
    refused: list[str] = []

    async def judge(request: Request) -> None:
        if request.token == made.case.token(1):
            refused.append(request.token)
            if len(refused) == SIZE:
                both.set()
            await both.wait()
            await request.send(unauthorized())
        else:
            await request.send(response())

    made.case.upstream.always(judge)
    answers = await all_of(*(client.ask(made.case.request()) for client in streams.values()))

    assert [answer.status for answer in answers] == [200] * SIZE
    assert len(refused) == SIZE
    assert made.case.token_requests == 2
    assert made.case.upstream.requests[-1].token == made.case.token(2)
    # Nobody sends it any more, whichever worker is asked.
    for client in streams.values():
        assert (await client.ask(made.case.request())).status == 200
    assert len(refused) == SIZE


async def test_refused_with_every_token_the_response_is_relayed_and_the_cooldown_holds_for_all(play: Play):
    made = await play()
    streams = await made.streams_of_all()
    made.case.upstream.always(replies(unauthorized()))

    for client in [*streams.values(), *streams.values()]:
        assert (await client.ask(made.case.request())).status == 401

    assert made.case.token_requests == 2
    assert await made.process.metric('token_state{connection="c0",state="disputed"}') == 1


async def test_without_a_token_each_worker_says_why_and_when_to_come_again(play: Play):
    made = await play(limits={"token_wait": "1s", "backoff": {"min": "30s", "max": "60s"}})
    made.stage.tokens.failing.add("c0")
    streams = await made.streams_of_all()

    answers = await all_of(*(client.ask(made.case.request()) for client in streams.values()))

    assert {(answer.status, answer.code) for answer in answers} == {(503, "token_unavailable")}
    assert all(int(answer.values(b"retry-after")[0]) >= 1 for answer in answers)
    assert made.case.token_requests == 1


async def test_a_worker_that_is_killed_loses_its_own_requests_only_comes_back_and_no_counter_goes_back(play: Play):
    made = await play()
    streams = await made.streams_of_all()
    gate = asyncio.Event()
    for client in streams.values():
        assert (await client.ask(made.case.request())).status == 200
    before = await made.process.metric('requests_total{connection="c0",code="200"}')
    assert before == SIZE

    async def hold(request: Request) -> None:
        await gate.wait()
        await request.send(response())

    made.case.upstream.requests.clear()
    made.case.upstream.always(hold)
    asking = [asyncio.create_task(_outcome(client, made)) for client in streams.values()]
    await made.case.upstream.arrived(SIZE)
    victim = made.pids()[1]
    kill(victim, signal.SIGKILL)
    await made.process.until_logged("worker", outcome="ended", number=1, status="SIGKILL")
    gate.set()
    made.case.upstream.behave()

    assert sorted(await all_of(*asking)) == ["200", "gone"]
    during = await made.process.metric('requests_total{connection="c0",code="200"}')
    assert during >= before + 1
    await made.process.until_logged("worker", 2, outcome="serving", number=1)
    await eventually("all workers", made.is_ready, 60.0)
    for client in (await made.streams_of_all()).values():
        assert (await client.ask(made.case.request())).status == 200
    assert await made.process.metric('requests_total{connection="c0",code="200"}') >= during + SIZE
    assert await made.process.metric('worker_starts_total{worker="1"}') == 2
    assert await made.process.metric('worker_starts_total{worker="2"}') == 1
    assert await made.process.metric("in_flight_requests") == 0
    assert made.case.token_requests == 1
    assert is_gone(victim)


async def _outcome(client: Client, made: WithWorkers) -> str:
    try:
        return str((await client.ask(made.case.request())).status)
    except (AssertionError, ConnectionError, EOFError):
        return "gone"


async def test_a_reload_reaches_every_worker_and_a_faulty_one_none(play: Play):
    made = await play()
    streams = await made.streams_of_all()
    made.write(headers={"X-Told": "after"})
    made.process.signal(signal.SIGHUP)
    await made.process.until_logged("reload", outcome="applied")
    for client in streams.values():
        assert (await client.ask(made.case.request())).status == 200
    assert [request.values(b"x-told") for request in made.case.upstream.requests] == [[b"after"]] * SIZE

    made.write(headers={"X-Told": "never"}, base_url="no url")
    made.process.signal(signal.SIGHUP)
    await made.process.until_logged("reload", outcome="rejected")
    for client in streams.values():
        assert (await client.ask(made.case.request())).status == 200
    assert made.case.upstream.requests[-1].values(b"x-told") == [b"after"]
    assert made.case.token_requests == 1  # it is the same grant


async def test_who_is_told_that_a_reload_is_applied_is_served_by_it_whichever_worker_it_comes_to(play: Play):
    made = await play()
    streams = await made.streams_of_all()
    for number in range(20):
        made.write(headers={"X-Told": str(number)})
        assert (await made.process.admin_post("/api/reload")).status == 200

        answers = await all_of(*(client.ask(made.case.request()) for client in streams.values()))

        assert {answer.status for answer in answers} == {200}
        told = [request.values(b"x-told") for request in made.case.upstream.requests[-SIZE:]]
        assert told == [[str(number).encode()]] * SIZE


async def test_a_listener_of_a_reload_is_open_on_every_worker_and_one_that_left_on_none(play: Play):
    made = await play()
    definitions = json.loads(made.file.read_text())
    definitions["connections"]["c0"]["route"] = {"prefix": "/c0", "bind": "127.0.0.1:0"}
    old = made.process.reverse
    made.file.write_text(json.dumps(definitions))
    made.process.signal(signal.SIGHUP)
    await made.process.until_logged("reload", outcome="applied")
    address = made.process.listening["route"][0]

    clients = [await made.case.connect(address) for _ in range(8)]
    answers = await all_of(*(client.ask(made.case.request()) for client in clients))

    assert {answer.status for answer in answers} == {200}
    with pytest.raises(ConnectionError):
        await made.case.connect(old)


async def test_draining_lets_what_is_under_way_end_and_ends_all(play: Play):
    made = await play(shutdown={"drain_delay": "200ms", "grace": "20s"})
    streams = await made.streams_of_all()
    gate = asyncio.Event()
    made.case.upstream.always(replies(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", gate, b"ok"))
    asking = [asyncio.create_task(client.ask(made.case.request())) for client in streams.values()]
    await made.case.upstream.arrived(SIZE)
    pids = made.pids().values()
    made.process.signal()
    await made.process.until_logged("draining")
    assert not await made.is_ready()
    gate.set()

    answers = await all_of(*asking)
    assert [(answer.status, answer.body) for answer in answers] == [(200, b"ok")] * SIZE
    assert await made.process.exit_status() == 0
    assert made.process.logged("stopped")[0]["streams_cut"] == 0
    assert all(is_gone(pid) for pid in pids)


async def test_a_second_signal_cuts_the_streams_of_all_workers(play: Play):
    made = await play(shutdown={"drain_delay": "1h", "grace": "1h"})
    streams = await made.streams_of_all()
    gate = asyncio.Event()
    made.case.upstream.always(replies(gate))
    asking = [asyncio.create_task(_outcome(client, made)) for client in streams.values()]
    await made.case.upstream.arrived(SIZE)
    made.process.signal()
    await made.process.until_logged("draining")
    made.process.signal()

    assert await all_of(*asking) == ["gone"] * SIZE
    assert await made.process.exit_status() == 0
    assert made.process.logged("stopped")[0]["streams_cut"] >= SIZE


async def test_quitquitquit_drains_all(play: Play):
    made = await play()
    pids = made.pids().values()

    assert (await made.process.admin_post("/quitquitquit")).status == 200

    assert await made.process.exit_status() == 0
    assert all(is_gone(pid) for pid in pids)


async def test_workers_end_when_the_main_process_is_killed(play: Play):
    made = await play()
    pids = made.pids().values()
    made.process.signal(signal.SIGKILL)

    await eventually("the end of all workers", lambda: all(is_gone(pid) for pid in pids))

    assert await made.process.exit_status() == -signal.SIGKILL
    made.process.listening.clear()  # it did not end well


async def test_a_signal_to_the_whole_group_is_the_main_process_s_to_act_on(play: Play):
    made = await play()
    for pid in made.pids().values():
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            kill(pid, number)

    streams = await made.streams_of_all()

    assert len(streams) == SIZE
    assert not made.process.logged("worker", outcome="ended")


async def test_no_secret_is_in_the_command_line_or_environment_of_a_worker_nor_in_the_metrics(play: Play):
    made = await play()
    for client in (await made.streams_of_all()).values():
        assert (await client.ask(made.case.request())).status == 200

    for pid in made.pids().values():
        for name in ("cmdline", "environ"):
            shown = shown_of(pid, name)
            assert SECRET.encode() not in shown
            assert b"canary" not in shown
            assert b"CLIENT_SECRET" not in shown
    metrics = (await made.process.admin_get("/metrics")).body
    assert b"canary-" not in metrics
    assert metrics.count(b'iclient_proxy_worker_up{worker="') == SIZE


async def test_operators_renew_and_test_through_the_main_process(play: Play):
    made = await play()
    streams = await made.streams_of_all()
    for client in streams.values():
        assert (await client.ask(made.case.request())).status == 200

    assert (await made.process.admin_post("/api/connections/c0/renew")).status == 200

    assert made.case.token_requests == 2
    for client in streams.values():
        assert (await client.ask(made.case.request())).status == 200
        assert made.case.upstream.requests[-1].token == made.case.token(2)


async def test_a_start_that_is_broken_off_waits_for_nobody_unless_somebody_has_called(tmp_path: Path):
    for calls in (False, True):
        stage = Stage({"c0": {}}, {"workers": SIZE, "shutdown": {"drain_delay": "60s"}})
        await stage.start(tmp_path, serving=False)
        case = await stage.case("c0")
        await stage.process.until_listening("reverse")
        client = await case.connect() if calls else None
        stage.process.signal()
        if client is not None:
            await stage.process.until_logged("draining")
            assert (await client.ask(case.request())).status == 200
            stage.process.signal()

        assert await stage.process.exit_status() == 0
        await case.close()
        await stage.close()


async def test_a_request_that_waits_for_a_token_when_its_connection_changes_still_gets_it(play: Play):
    made = await play()
    gate = made.stage.tokens.held["c0"] = asyncio.Event()
    client = await made.case.connect()
    await client.send(made.case.request())
    await made.stage.tokens.asked_by("c0", 1)
    made.write(headers={"X-Told": "after"})
    made.process.signal(signal.SIGHUP)
    await made.process.until_logged("reload", outcome="applied")
    gate.set()

    assert (await client.response()).status == 200
    assert made.case.upstream.requests[-1].values(b"x-told") == []


async def test_lines_of_many_processes_are_whole(play: Play):
    made = await play()
    clients = [await made.case.connect() for _ in range(8)]

    async def talk(client: Client) -> None:
        for _ in range(100):
            assert (await client.ask(made.case.request(target=b"/" + b"x" * 900))).status == 200

    await all_of(*(talk(client) for client in clients))
    await made.process.until_logged("exchange", 800, connection="c0")

    assert all(line.startswith("{") and line.endswith("}") for line in made.process.lines)
