"""What the bench takes through tunnels, against a proxy that opens them and then answers itself."""

import socketserver
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from bench.load import Entry, ask_at, pulled
from bench.pull import pull, tunnel
from bench.rows import CLOSED
from bench.upstream import free_ports

ROOT = Path(__file__).parents[2]
ROW = next(row for row in CLOSED if row.tunnel)
SIZE = 300_000  # more than one read takes in

REFUSED = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"


class Tunnelling(socketserver.StreamRequestHandler):
    """Opens a tunnel to `good:80`, no other; without CONNECT, and within the tunnel, it answers every request."""

    def handle(self):
        with suppress(ConnectionError):  # whoever measures leaves when the time is over
            self._serve()

    def _serve(self):
        while first := self.rfile.readline():
            lines = []
            while (line := self.rfile.readline()) not in (b"\r\n", b""):
                lines.append(line)
            self.server.seen.append(first.split(b" ")[:2])
            if first.startswith(b"CONNECT"):
                good = first.split(b" ")[1] == b"good:80"
                self.wfile.write(
                    b"HTTP/1.1 200 OK\r\n\r\n" if good else b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"
                )
            else:
                self.server.fields.append(lines)
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE + bytes(SIZE))


@contextmanager
def serving():
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Tunnelling)
    server.daemon_threads = True
    server.seen, server.fields = [], []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server, server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_each_tunnel_is_asked_for_once_and_kept_busy():
    with serving() as (server, port):
        said = pull(port, "good:80", "/x", 0.3, 3, "Bearer token")

    asked = [target for method, target in server.seen if method == b"CONNECT"]
    assert asked == [b"good:80"] * 3
    assert said["completed"] > 3
    assert said["completed"] <= said["sent"] <= said["completed"] + 3
    assert said["bytes"] >= said["completed"] * SIZE
    assert (said["status"], said["socket"]) == (0, 0)
    assert all(b"Authorization: Bearer token\r\n" in fields for fields in server.fields)


def test_who_needs_no_tunnel_is_asked_without():
    with serving() as (server, port):
        said = pull(port, "", "/x", 0.1, 1, "")

    assert said["completed"] > 0
    assert {method for method, _ in server.seen} == {b"GET"}


def test_a_tunnel_that_is_refused_is_no_tunnel():
    with serving() as (_, port), pytest.raises(OSError, match="403"):
        tunnel(port, "bad:80")


@pytest.mark.needs("taskset")
def test_the_load_reads_what_the_process_prints():
    with serving() as (_, port):
        found = pulled(Entry(port, target="good:80"), ROW, 0.2, 0)

    assert found.completed > 0
    assert (found.failed, found.broken) == (0, 0)


def test_the_adapter_carries_each_stream_through_a_tunnel():
    [own] = free_ports(1)
    with serving() as (server, port):
        command = [sys.executable, "-m", "bench.adapter", str(own), str(port), "good:80"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as adapter:
            try:
                said = adapter.stdout.readline()
                replies = [ask_at(Entry(own), "/y") for _ in range(2)]
            finally:
                adapter.terminate()

    assert said == b"listening\n"
    assert [(reply.status, len(reply.body)) for reply in replies] == [(200, SIZE)] * 2
    assert [method for method, _ in server.seen].count(b"CONNECT") == 2
