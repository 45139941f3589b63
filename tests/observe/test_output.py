"""A log that nobody reads, or that is gone, is the log's misfortune and nobody else's."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys

import pytest

from tests.support.client import Client
from tests.support.deadline import awaiting
from tests.support.process import ROOT

DEFINITION = {
    "listeners": {"reverse": {"bind": "127.0.0.1:0"}, "admin": {"bind": "127.0.0.1:0"}},
    "shutdown": {"drain_delay": "10ms", "grace": "1s"},
    "connections": {"crm": {"base_url": "http://127.0.0.1:9", "headers": {"X-Key": "a"}}},
}
# More lines than the pipe, the writer and the queue hold together.
LINES = 10_000
REQUEST = b"GET /no-route HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def running(tmp_path):
    """The proxy with its standard output on a pipe that is ours alone; its addresses are read from its first lines."""
    (tmp_path / "d.json.yaml").write_text(json.dumps(DEFINITION))
    process = subprocess.Popen(
        [sys.executable, "-m", "proxy", "run", "--config", tmp_path / "d.json.yaml"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
    )
    process.listening = {}
    while len(process.listening) < 2:
        said = json.loads(process.stdout.readline())
        if said["event"] == "listening":
            host, port = re.fullmatch(r"([\d.]+):(\d+)", said["address"]).groups()
            process.listening[said["listener"]] = (host, int(port))
    yield process
    process.kill()
    process.wait()
    process.stdout.close()
    process.stderr.close()


async def flood(address):
    """Send many requests, each of which makes a line, and read every answer."""
    client = await Client.connect(address)

    async def read():
        answered = 0
        async with awaiting("all answers", 50):
            while answered < LINES:
                answered += (await client.response()).status == 404
        return answered

    reading = asyncio.create_task(read(), name="answers")
    for _ in range(LINES // 50):
        await client.send(REQUEST * 50)
    answered = await reading
    await client.close()
    return answered


@pytest.mark.case("L-287")
async def test_a_log_that_nobody_reads_holds_up_no_exchange(running):
    assert await flood(running.listening["reverse"]) == LINES

    client = await Client.connect(running.listening["admin"])
    assert (await client.ask(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200
    await client.close()
    running.send_signal(signal.SIGTERM)
    # Nobody reads, so the last lines are given up after a second.
    assert await asyncio.to_thread(running.wait, 20) == 0
    assert running.stderr.read() == b""


@pytest.mark.case("L-287")
async def test_a_log_whose_reader_is_gone_does_not_end_the_process(running):
    running.stdout.close()

    client = await Client.connect(running.listening["reverse"])
    for _ in range(100):
        assert (await client.ask(REQUEST)).status == 404
    await client.close()
    running.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(running.wait, 20) == 0
    assert running.stderr.read() == b""
