"""Ten thousand callers before the first token, a third of whom leave: one token request, and nobody fails."""

from __future__ import annotations

import asyncio
import resource
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.support.client import Client
from tests.support.deadline import awaiting, eventually
from tests.support.figures import Figure
from tests.support.scripts import OK_BODY
from tests.support.stage import Stage

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stage import Case

CALLERS: Final = 10_000
_PATIENCE: Final = 60.0  # seconds that a crowd may take on a busy machine
_AT_ONCE: Final = 100  # streams that are opened at a time
# Files that a process has open beside the streams of the crowd: a thousand streams to the upstream, and its own.
_BESIDE: Final = 1_500


@dataclass(frozen=True)
class Crowd:
    """What the servers and the callers saw.

    Half of those who leave reset their stream: the product knows that they are gone. The others only close it, which
    may be a half-close, so that their requests go on.
    """

    callers: int
    reset: int
    closed: int
    served: int
    token_requests: int
    upstream_requests: int


async def gather(folder: Path, callers: int) -> Crowd:
    """Let a crowd come, each on a stream of its own; as many as this machine's limit of open files lets in."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    callers = min(callers, hard - _BESIDE)
    # A crowd dials all at once, and who can't be accepted in time is not what this is about.
    stage = Stage(
        {"c0": {"timeouts": {"connect": "60s"}}},
        {"log": {"access": False}, "limits": {"connections": callers + 100, "token_wait": "60s", "token_total": "60s"}},
    )
    try:
        await stage.start(folder)
        try:
            case = await stage.case("c0")
            try:
                return await _come_and_go(case, callers)
            finally:
                await case.close()
        finally:
            await stage.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def _come_and_go(case: Case, callers: int) -> Crowd:
    gate = case.stage.tokens.held["c0"] = asyncio.Event()
    clients: list[Client] = []
    while len(clients) < callers:
        clients += await asyncio.gather(*(case.connect() for _ in range(min(_AT_ONCE, callers - len(clients)))))
    for client in clients:
        await client.send(case.request())
    await _until_waiting(case, callers)
    # The one that began the token request is among those who leave.
    resetting, closing = clients[::6], clients[3::6]
    staying = [client for number, client in enumerate(clients) if number % 3]
    for client in resetting:
        client.reset()
    for client in closing:
        await client.close()
    await _until_waiting(case, callers - len(resetting))
    gate.set()
    async with awaiting("all responses", _PATIENCE):
        served = await asyncio.gather(*(_is_served(client) for client in staying))
    tokens = {request.token for request in case.upstream.requests}
    assert tokens == {case.token(1)}, tokens
    return Crowd(callers, len(resetting), len(closing), sum(served), case.token_requests, case.upstream_requests)


async def _until_waiting(case: Case, exchanges: int) -> None:
    async def waiting() -> bool:
        return await case.stage.process.metric("in_flight_requests") == exchanges

    await eventually(f"{exchanges} requests that wait", waiting, _PATIENCE)


async def _is_served(client: Client) -> bool:
    """Read one response as bare bytes; tell whether it is the upstream's."""
    received = b""
    while not received.endswith(OK_BODY):
        data = await client.read()
        if not data:
            return False
        received += data
    return received.startswith(b"HTTP/1.1 200 ")


def figures(crowd: Crowd) -> list[Figure]:
    """Return what came of a crowd."""
    left = crowd.reset + crowd.closed
    staying = crowd.callers - left
    sent = staying + crowd.closed
    failed = staying - crowd.served
    return [
        Figure(
            f"token requests for {crowd.callers} cold callers, {left} of whom leave",
            str(crowd.token_requests), "1", crowd.token_requests == 1,
        ),
        Figure(f"of the {staying} who stay, those who fail", str(failed), "0", failed == 0),
        Figure(
            "requests that reach the upstream: all but those of callers who reset their stream",
            str(crowd.upstream_requests), str(sent), crowd.upstream_requests == sent,
        ),
    ]  # fmt: skip
