"""One request for each thing that the proxy awaits within a time; all of it comes while the process stands still."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
from contextlib import AsyncExitStack
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import trustme

from tests.support.client import Client
from tests.support.deadline import awaiting, eventually
from tests.support.scripts import OK_BODY, echoes, replies, response
from tests.support.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from pathlib import Path

    from tests.support.client import Response
    from tests.support.process import Process
    from tests.support.stage import Case

    Wait = Callable[["Scene", str], Coroutine[None, None, bool]]

# Everything is ready long before this, and the process stands still for longer.
PATIENCE: Final = 2.0
STILL: Final = 1.5  # times as long
_LIMITS: Final = ("head_timeout", "body_idle", "keep_alive", "write_idle", "token_wait", "token_connect", "token_total")
_LARGE: Final = 4 << 20
_HEAD_START: Final = 0.5  # seconds for which the process is alone: whatever it had planned for meanwhile it does now
_REFUSED: Final = response(b'{"error": "dead", "why": "not any more"}', b"Content-Type: application/json")


@cache
def _authority() -> trustme.CA:
    return trustme.CA()


class Scene:
    """Where the waits meet: each comes when its first half is done, and goes on when the process stands still."""

    def __init__(self, stage: Stage, people: int) -> None:
        self.stage = stage
        self.all_here = asyncio.Event()
        self.still = asyncio.Event()
        self._missing = people
        self._after = AsyncExitStack()

    async def case(self, name: str, tls: ssl.SSLContext | None = None) -> Case:
        """Open the upstream of one connection."""
        case = await self.stage.case(name, tls)
        self._after.push_async_callback(case.close)
        return case

    async def stillness(self) -> None:
        """Say that the first half is done, and wait."""
        self._missing -= 1
        if not self._missing:
            self.all_here.set()
        await self.still.wait()

    async def close(self) -> None:
        await self._after.aclose()


async def _head(scene: Scene, name: str) -> bool:
    case = await scene.case(name)
    client, whole = await case.connect(), case.request()
    await client.send(whole[:-10])
    await scene.stillness()
    await client.send(whole[-10:])
    return _good(await client.response())


async def _body(scene: Scene, name: str) -> bool:
    case = await scene.case(name)
    case.upstream.answers(echoes)
    client = await case.connect()
    await client.send(case.request(b"Content-Length: 20", method=b"POST", body=OK_BODY[:3]))
    await case.upstream.arrived()
    await scene.stillness()
    await client.send(OK_BODY[3:])
    return _good(await client.response())


async def _next(scene: Scene, name: str) -> bool:
    case = await scene.case(name)
    client = await case.connect()
    first = await client.ask(case.request())
    await scene.stillness()
    return _good(first) and _good(await client.ask(case.request()))


async def _answer(scene: Scene, name: str) -> bool:
    return await _late(scene, name, sent=0)


async def _rest(scene: Scene, name: str) -> bool:
    return await _late(scene, name, sent=len(response()) - 5)


async def _late(scene: Scene, name: str, *, sent: int) -> bool:
    """So many bytes of the response are sent before, the others afterwards."""
    case, gate, whole = await scene.case(name), asyncio.Event(), response()
    case.upstream.answers(replies(whole[:sent], gate, whole[sent:]))
    client = await case.connect()
    await client.send(case.request())
    await case.upstream.arrived()
    await scene.stillness()
    gate.set()
    return _good(await client.response())


async def _token(scene: Scene, name: str) -> bool:
    case = await scene.case(name)
    gate = scene.stage.tokens.held[name] = asyncio.Event()
    client = await case.connect()
    await client.send(case.request())
    await scene.stage.tokens.asked_by(name, 1)
    await scene.stillness()
    gate.set()
    return _good(await client.response()) and case.token_requests == 1


async def _verdict(scene: Scene, name: str) -> bool:
    """A refusal in a body that is held: only who reads all of it knows that the request is to be sent again."""
    case, gate = await scene.case(name), asyncio.Event()
    case.upstream.answers(replies(_REFUSED[:-5], gate, _REFUSED[-5:]))
    client = await case.connect()
    await client.send(case.request())
    await case.upstream.arrived()
    await scene.stillness()
    gate.set()
    return _good(await client.response()) and case.upstream_requests == 2


async def _reader(scene: Scene, name: str) -> bool:
    case, body = await scene.case(name), bytes(_LARGE)
    case.upstream.answers(replies(response(body)))
    client = await case.connect(receive_buffer=4096)
    await client.send(case.request())
    await case.upstream.arrived()
    await scene.stillness()
    return _good(await client.response(), body)


async def _handshake(scene: Scene, name: str) -> bool:
    client = await Client.connect(scene.stage.process.reverse)
    await client.send(b"GET /%b/x HTTP/1.1\r\nHost: localhost\r\n\r\n" % name.encode())
    await scene.stillness()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _authority().issue_cert("localhost").configure_cert(context)
    case = await scene.case(name, context)  # until now nobody took part in the handshake
    case.clients.append(client)
    return _good(await client.response())


def _good(answered: Response, body: bytes = OK_BODY) -> bool:
    return (answered.status, answered.body, answered.complete) == (200, body, True)


WAITS: Final[dict[str, Wait]] = {
    "head": _head, "body": _body, "next": _next, "answer": _answer, "rest": _rest, "token": _token,
    "verdict": _verdict, "reader": _reader, "handshake": _handshake,
}  # fmt: skip
_NO_EXCHANGE: Final = ("head", "next")  # a half head and an idle stream


async def stand_still(
    folder: Path, copies: int = 1, patience: float = PATIENCE
) -> tuple[dict[str, list[bool]], Process]:
    """Have everything wait so often, for `patience` seconds at most, stop the process for longer, let all of it come.

    Returns, by what waits, whether each copy got what was meant for it, and the process, which has ended by then.
    """
    names = {f"{kind}-{copy}": kind for kind in WAITS for copy in range(copies)}
    stage = Stage({name: _connection(kind, patience) for name, kind in names.items()}, _settings(patience))
    await stage.start(folder)
    scene = Scene(stage, len(names))
    try:
        waits = [asyncio.create_task(WAITS[kind](scene, name), name=name) for name, kind in names.items()]
        async with awaiting("the first halves"):
            await scene.all_here.wait()
        in_flight = copies * (len(WAITS) - len(_NO_EXCHANGE))

        async def are_under_way() -> bool:
            return await stage.process.metric("in_flight_requests") == in_flight

        await eventually("all exchanges", are_under_way)
        async with stage.process.frozen():
            scene.still.set()
            await asyncio.sleep(patience * STILL)
        alive = await stage.process.admin_get("/livez")
        assert alive.status == 200
        found: dict[str, list[bool]] = {kind: [] for kind in WAITS}
        for (_, kind), came in zip(names.items(), await asyncio.gather(*waits), strict=True):
            found[kind].append(came)
        found["noticed"] = [await stage.process.metric("loop_stalls_total") >= 1]
    finally:
        await scene.close()
        await stage.close()
    return found, stage.process


def _settings(patience: float) -> dict[str, Any]:
    limits = dict.fromkeys((*_LIMITS, "inspect_hold"), _written(patience))
    return {"limits": limits, "log": {"access": False}}


def _written(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"


def _connection(kind: str, patience: float) -> dict[str, Any]:
    found: dict[str, Any] = {"timeouts": dict.fromkeys(("connect", "response", "idle"), _written(patience))}
    if kind == "verdict":
        found["auth_errors"] = [{"path": "error", "values": ["dead"]}]
    if kind == "handshake":
        found |= {"base_url": "https://localhost:PORT", "tls": {"ca": _authority().cert_pem.bytes().decode()}}
    return found


async def all_stand_still(process: Process, others: Sequence[int], seconds: float) -> None:
    """Stop the process and these others for so long, as a machine that is suspended does; they go on well after it."""
    async with process.frozen():
        for pid in others:
            os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(seconds)
    await asyncio.sleep(_HEAD_START)
    for pid in others:
        os.kill(pid, signal.SIGCONT)
