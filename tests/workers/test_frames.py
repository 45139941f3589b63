"""Messages on a stream come out whole, however they are cut; what is none is the end."""

from __future__ import annotations

import asyncio
import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.runtime.workers.channel import FILES_MAX, Channel, pair
from proxy.runtime.workers.frames import LARGEST_UP, FrameError, Frames, Message, frame
from tests.support.deadline import awaiting


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


MESSAGES = st.lists(st.fixed_dictionaries({"kind": st.text(max_size=5), "n": st.integers()}), max_size=5)


@given(MESSAGES, st.lists(st.integers(0, 200), max_size=10))
def test_however_they_are_cut_messages_come_out_whole_and_in_order(messages: list[Message], cuts: list[int]):
    data = b"".join(frame(message) for message in messages)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    frames = Frames()

    found = [message for begin, end in pairwise(places) for message in frames.feed(data[begin:end])]

    assert found == messages


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x02{]",
        b"\x00\x00\x00\x02[]",
        b"\x00\x00\x00\x02{}",
        b"\x00\x01\x00\x00" + b"[" * 65536,
    ],
)
def test_what_is_no_message_is_an_error(data: bytes):
    with pytest.raises(FrameError):
        list(Frames(LARGEST_UP).feed(data))


async def test_more_files_than_the_kernel_takes_at_once_arrive_in_order():
    ours, theirs = pair()
    here, there = (Channel(end, files_max=FILES_MAX, largest=LARGEST_UP) for end in (ours, theirs))
    arrived: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
    there.start(asyncio.get_running_loop(), arrived.set_result, lambda: None)
    here.start(asyncio.get_running_loop(), lambda _: None, lambda: None)
    made = [os.memfd_create(str(number)) for number in range(300)]

    here.send({"kind": "files all"}, made)
    async with awaiting("the message"):
        assert await arrived == {"kind": "files all"}

    came = there.files()
    assert [os.fstat(file).st_ino for file in came] == [os.fstat(file).st_ino for file in made]
    for file in (*came, *made):
        os.close(file)
    here.close()
    there.close()


async def test_a_side_that_takes_no_files_gets_none():
    ours, theirs = pair()
    here = Channel(ours, files_max=0, largest=LARGEST_UP)
    there = Channel(theirs, files_max=FILES_MAX, largest=LARGEST_UP)
    arrived: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
    here.start(asyncio.get_running_loop(), arrived.set_result, lambda: None)
    there.start(asyncio.get_running_loop(), lambda _: None, lambda: None)
    before = open_files()

    there.send({"kind": "gift"}, [0, 1, 2])
    async with awaiting("the message"):
        await arrived

    assert here.files() == []
    assert open_files() == before
    here.close()
    there.close()


async def test_the_end_of_the_other_side_is_told_once():
    ours, theirs = pair()
    here = Channel(ours, files_max=0, largest=LARGEST_UP)
    lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    here.start(asyncio.get_running_loop(), lambda _: None, lambda: lost.set_result(None))
    theirs.close()
    here.send({"kind": "to nobody"})

    async with awaiting("the end"):
        await lost
    here.send({"kind": "to nobody"})
    here.close()

    assert lost.done()
