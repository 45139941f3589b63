"""Streams are shared out among the workers, and whoever does not take its part holds up nobody."""

from __future__ import annotations

import asyncio
import os
import resource
import select
import signal
import socket
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from proxy.runtime.workers.accepting import Acceptor, Place
from proxy.runtime.workers.board import Board, is_ahead, length
from tests.support.deadline import awaiting, eventually
from tests.workers.conftest import SIZE, all_of, kill

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.workers.conftest import Play

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize(
    ("own", "least", "ahead"),
    [(0, 0, False), (1, 0, False), (2, 0, True), (17, 16, False), (19, 16, False), (20, 16, True), (90, 100, False)],
)
def test_who_has_a_few_more_than_the_one_with_the_least_leaves_the_next_stream_to_it(own: int, least: int, ahead: bool):
    assert is_ahead(own, least) is ahead


@pytest.fixture
def board() -> Board:
    file = os.memfd_create("board")
    os.ftruncate(file, length(3))
    made = Board(file, 3)
    other = Board(file, 3)  # as another process sees it
    for number in (1, 2, 3):
        other.leave(number)
    os.close(file)
    return made


def test_nobody_waits_for_who_is_not_there(board: Board):
    board.tell(1, 1_000_000)

    assert not is_ahead(1_000_000, board.least(1))


def test_each_sees_what_the_others_have(board: Board):
    for number, streams in ((1, 5), (2, 7), (3, 6)):
        board.tell(number, streams)

    assert [board.least(number) for number in (1, 2, 3)] == [6, 5, 5]
    board.leave(1)
    assert [board.least(number) for number in (2, 3)] == [6, 7]


class Scene:
    """Acceptors of several workers in one loop, on one socket; each keeps what it got."""

    def __init__(self, board: Board) -> None:
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.sock.setblocking(False)
        self.got: Counter[int] = Counter()
        self.places = {number: Place(board, number) for number in (1, 2, 3)}
        self.acceptors: dict[int, Acceptor] = {}
        self._kept: list[socket.socket] = []
        self._came = asyncio.Event()

    def begin(self, number: int) -> None:
        """Let this worker accept."""

        async def serve(accepted: socket.socket) -> None:
            self._kept.append(accepted)
            self.got[number] += 1
            self.places[number].open(self.got[number])
            self._came.set()

        loop = asyncio.get_running_loop()
        acceptor = Acceptor(loop, self.sock.dup(), self.places[number], serve, f"worker {number}")
        self.acceptors[number] = acceptor
        acceptor.start()

    async def call(self, times: int) -> None:
        """Open so many streams at once, and wait until all are accepted."""
        before = self.got.total()
        for _ in range(times):
            caller = socket.socket()
            caller.setblocking(False)
            self._kept.append(caller)
            await asyncio.get_running_loop().sock_connect(caller, self.sock.getsockname())
        async with awaiting(f"{times} streams"):
            while self.got.total() < before + times:
                self._came.clear()
                await self._came.wait()

    @property
    def has_callers(self) -> bool:
        """Whether somebody waits in the queue."""
        return bool(select.select([self.sock], [], [], 0)[0])

    def close(self) -> None:
        for acceptor in self.acceptors.values():
            acceptor.close()
        for each in (*self._kept, self.sock):
            each.close()


@pytest.fixture
async def scene(board: Board) -> AsyncIterator[Scene]:
    made = Scene(board)
    yield made
    made.close()


async def test_a_crowd_is_shared_out(scene: Scene):
    for number in (1, 2, 3):
        scene.begin(number)

    await scene.call(90)

    assert max(scene.got.values()) <= 1 + min(scene.got.values()) + min(scene.got.values()) // 8 + 1


async def test_who_is_alone_takes_everything_at_once(scene: Scene):
    scene.begin(2)

    await scene.call(200)

    assert scene.got == {2: 200}


async def test_what_one_that_stands_still_does_not_take_the_others_take(scene: Scene):
    scene.begin(1)
    scene.places[2].open(0)  # it says that it is there, and accepts nothing

    await scene.call(200)

    assert scene.got == {1: 200}


async def test_one_that_comes_back_with_nothing_gets_the_next_ones(scene: Scene):
    scene.begin(1)
    await scene.call(100)
    scene.begin(2)

    await scene.call(50)

    assert scene.got[2] >= 40


async def test_where_no_file_is_left_it_tries_again(scene: Scene):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    calls = asyncio.create_task(scene.call(5))
    await eventually("callers in the queue", lambda: scene.has_callers)
    scene.begin(1)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        await eventually("a pause", lambda: scene.acceptors[1].is_paused)
        during = scene.got.total()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    await calls

    assert (during, scene.got) == (0, {1: 5})


async def test_a_pool_of_streams_that_an_application_opens_is_shared_out_and_a_worker_that_stands_still_left_out(
    play: Play,
):
    made = await play(rhythm={"every": 0.25, "silent": 1.0, "hung": 60.0})

    async def pool(size: int) -> Counter[str]:
        clients = [await made.case.connect() for _ in range(size)]
        return Counter(await all_of(*(made.worker_of(client) for client in clients)))

    shared = await pool(16)
    await made.case.leave()
    victim = made.pids()[1]
    kill(victim, signal.SIGSTOP)
    at_once = await pool(16)
    await made.process.until_logged("worker", outcome="silent", number=1)
    afterwards = await pool(16)
    kill(victim, signal.SIGCONT)
    await made.process.until_logged("worker", outcome="answers", number=1)

    assert len(shared) == SIZE
    assert min(shared.values()) >= 4  # mostly 8; a worker that gets no processor for a while leaves some to the other
    assert len(at_once) == len(afterwards) == 1
