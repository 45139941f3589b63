"""A token that dies under load, and an API that refuses every token: nobody is asked more than it takes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.lifecycle.test_cold_start import PATIENT, all_served, crowd, many_files, refuses_all_at_once
from tests.support.deadline import awaiting
from tests.support.scripts import OK_BODY, response, unauthorized

if TYPE_CHECKING:
    from tests.lifecycle.conftest import Play
    from tests.support.client import Client
    from tests.support.stage import Case
    from tests.support.upstream import Request

__all__ = ["many_files"]  # a fixture

IN_FLIGHT = 5_000
POLLS = 1_000
STREAMS = 20
REVOKED = response(b'{"ok": false, "error": "token_revoked"}', b"Content-Type: application/json")
RULES = {"auth_errors": [{"path": "error", "values": "token_revoked,token_expired"}]}


@pytest.mark.case("R-368", "P-233", "P-239")
@pytest.mark.timeout(180)
async def test_five_thousand_requests_in_flight_when_the_token_is_revoked(play: Play):
    """Half of them are told so by status, half in a body with 200; no application ever sees it."""
    case = await play({**PATIENT, **RULES}, log={"access": False}, limits={"upstream_streams": IN_FLIGHT + 100})
    await case.warm()
    everybody_here = asyncio.Event()
    case.upstream.always(
        refuses_all_at_once(
            case, everybody_here, lambda request: unauthorized() if int(request.target[1:]) % 2 else REVOKED
        )
    )
    clients = await crowd(case, IN_FLIGHT)
    for number, client in enumerate(clients):
        await client.send(case.request(target=b"/%d" % number))
    async with awaiting("all requests at the upstream", 60):
        while case.upstream_requests < IN_FLIGHT:
            await case.upstream.arrived(min(IN_FLIGHT, case.upstream_requests + 500))
    everybody_here.set()
    async with awaiting("all responses", 60):
        await asyncio.gather(*(all_served(client, 1) for client in clients))

    assert (case.token_requests, case.upstream_requests) == (2, 2 * IN_FLIGHT)
    seen = sorted((request.target, request.token) for request in case.upstream.requests)
    assert seen == sorted((b"/%d" % number, case.token(n)) for number in range(IN_FLIGHT) for n in (1, 2))
    assert await case.stage.process.metric('replays_total{connection="c0",outcome="accepted"}') == IN_FLIGHT


async def polled(case: Case, client: Client, target: bytes, times: int) -> list[int]:
    return [(await client.ask(case.request(target=target))).status for _ in range(times)]


@pytest.mark.case("P-234", "R-395")
@pytest.mark.parametrize("kind", ["status", "body"])
async def test_an_api_that_refuses_every_token_is_asked_once_for_each_request(play: Play, kind: str):
    case = await play(RULES, log={"access": False})
    refusal = unauthorized() if kind == "status" else REVOKED

    async def refuses(request: Request) -> None:
        await request.send(refusal)

    case.upstream.always(refuses)
    clients = await crowd(case, STREAMS)
    async with awaiting("all responses", 60):
        seen = await asyncio.gather(*(polled(case, client, b"/x", POLLS // STREAMS) for client in clients))

    assert {status for statuses in seen for status in statuses} == {401 if kind == "status" else 200}
    assert POLLS < case.upstream_requests <= POLLS + STREAMS  # those that came before the cooldown were sent once more
    assert case.token_requests <= 3


@pytest.mark.case("P-234")
async def test_one_forbidden_endpoint_polled_for_ever_harms_no_other_call(play: Play):
    case = await play(RULES, log={"access": False})
    await case.warm()

    async def forbids_one(request: Request) -> None:
        await request.send(REVOKED if request.target == b"/forbidden" else response())

    case.upstream.always(forbids_one)
    forbidden, *others = await crowd(case, STREAMS)
    async with awaiting("all responses", 60):
        _, *seen = await asyncio.gather(
            polled(case, forbidden, b"/forbidden", POLLS // 4),
            *(polled(case, client, b"/x", POLLS // STREAMS) for client in others),
        )
    last = await others[0].ask(case.request())

    assert {status for statuses in seen for status in statuses} == {200}
    assert (last.status, last.body) == (200, OK_BODY)
    targets = [request.target for request in case.upstream.requests]
    assert targets.count(b"/x") == len(others) * (POLLS // STREAMS) + 1
    assert targets.count(b"/forbidden") <= POLLS // 4 * 1.01 + 1
    assert case.token_requests <= 3
