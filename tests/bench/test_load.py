import re
import socketserver
import threading
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import pytest

from bench import load, pace
from bench.load import FIELDS, ask, head
from bench.upstream import fill

SCRIPT = Path(load.__file__).with_name("closed.lua").read_text(encoding="utf-8")
BODY = b'{"answer": true}'


class Answering(socketserver.StreamRequestHandler):
    """Answers every request of a stream, and counts them."""

    disable_nagle_algorithm = True

    def handle(self):
        while True:
            first = line = self.rfile.readline()
            while line not in (b"\r\n", b""):
                line = self.rfile.readline()
            if not first:
                return
            self.server.targets.append(first.split(b" ")[1])
            status = b"200 OK" if b"/small" in first else b"404 Not Found"
            self.wfile.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(BODY), BODY))


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answering)
        self.targets = []


class Ends(socketserver.BaseRequestHandler):
    """Takes a request and ends the stream within its answer."""

    def handle(self):
        self.request.recv(4096)
        self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfive!")


@contextmanager
def serving(server):
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_one_answer_is_read_whole():
    with serving(Server()) as port:
        reply = ask(port, "/small")

    assert (reply.status, reply.body) == (200, BODY)


def test_an_answer_that_breaks_off_is_no_answer():
    with (
        serving(socketserver.TCPServer(("127.0.0.1", 0), Ends)) as port,
        pytest.raises(OSError, match="within an answer"),
    ):
        ask(port, "/small")


def test_the_open_loop_sends_every_request_once_and_counts_every_answer():
    server = Server()
    with serving(server) as port:
        tally = pace.pace(port, "/small", [number / 10_000 for number in range(1, 201)], 8, "")

    assert (tally.sent, len(tally.latencies), tally.failed, tally.broken) == (200, 200, 0, 0)
    assert len(set(server.targets)) == len(server.targets) == 200


def test_the_open_loop_counts_answers_that_are_no_success():
    with serving(Server()) as port:
        tally = pace.pace(port, "/elsewhere", [0.001, 0.002, 0.003], 2, "")

    assert (len(tally.latencies), tally.failed) == (3, 3)


def test_arrivals_are_random_but_the_same_every_time():
    times = pace.due_times(2000, 5)
    gaps = [after - before for before, after in pairwise(times)]

    assert times == pace.due_times(2000, 5)
    assert times == sorted(times)
    assert times[-1] < 5
    assert fmean(gaps) == pytest.approx(1 / 2000, rel=0.05)
    assert max(gaps) > 3 * fmean(gaps)


def test_every_request_is_its_own_and_has_ten_ordinary_fields():
    one, other = head(80, "/small", 1).decode(), head(80, "/small", 2).decode()
    names = [line.partition(":")[0] for line in FIELDS.splitlines()]

    assert len(names) == 10
    for pattern in (r"GET (\S+)", r"X-Request-Id: (\S+)", r"traceparent: (\S+)"):
        assert re.search(pattern, one)[1] != re.search(pattern, other)[1]


def test_wrk_sends_the_same_fields_as_the_other_loads():
    in_script = re.findall(r'^ {6}"([A-Z][\w-]+): ', SCRIPT, flags=re.MULTILINE)

    assert in_script == [line.partition(":")[0] for line in FIELDS.splitlines()]


def test_a_template_is_filled_and_a_place_without_a_value_is_an_error(tmp_path):
    template, target = tmp_path / "template", tmp_path / "target"
    template.write_text("listen @PORT@; user@example.com; $request_id")

    fill(template, target, {"PORT": 80})

    assert target.read_text() == "listen 80; user@example.com; $request_id"
    with pytest.raises(KeyError):
        fill(template, target, {})
