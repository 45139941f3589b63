import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.exchange.record import ExchangeRecord
from proxy.observe.access import BATCH, AccessLog
from proxy.observe.render import console_line
from proxy.secret import Beginning
from tests.observe.lines import StoppedClock


class Kept:
    """A sink that keeps its lines, and a loop that is asked to call something soon."""

    def __init__(self):
        self.lines = []
        self.calls = []
        self.write_all = self.lines.extend
        self.soon = self.calls.append

    def tick(self):
        """Call what was to be called."""
        calls, self.calls[:] = self.calls[:], []
        for call in calls:
            call()


def exchange(**changes):
    record = ExchangeRecord("", b"", b"")
    values = {
        "connection": "crm",
        "method": b"GET",
        "target": b"/crm/v3/contacts?page=2",
        "status": 200,
        "attempts": 1,
        "renewed": False,
        "seconds_total": 0.0123456,
        "seconds_upstream": 0.011,
        "seconds_token": 0.0,
        "bytes_in": 0,
        "bytes_out": 1432,
        "request_id": "0123456789abcdef",
        "secrets": (),
    }
    for name, value in (values | changes).items():
        setattr(record, name, value)
    return record


def line(**changes):
    sink = Kept()
    AccessLog(sink, StoppedClock(), sink.soon).record(exchange(**changes))
    sink.tick()
    [written] = sink.lines
    return written


def test_an_exchange_is_one_line_of_json_in_a_fixed_order():
    assert line() == (
        b'{"event":"exchange","connection":"crm","method":"GET","path":"/crm/v3/contacts","status":200,"attempts":1,'
        b'"renewed":false,"ms_total":12.346,"ms_upstream":11.000,"ms_token":0,"bytes_in":0,"bytes_out":1432,'
        b'"request_id":"0123456789abcdef","level":"info","timestamp":"2026-01-02T03:04:05.678Z"}\n'
    )


def test_a_renewed_exchange_says_so_and_how_long_the_token_took():
    event = json.loads(line(renewed=True, attempts=2, seconds_token=0.25))

    assert (event["renewed"], event["attempts"], event["ms_token"]) == (True, 2, 250)


def test_the_time_stands_on_each_line_as_it_is_then():
    sink = Kept()
    clock = StoppedClock()
    access = AccessLog(sink, clock, sink.soon)
    for now in (1767323045.6781, 1767323045.6789, 1767323045.679, 1767323046.0):
        clock.now = now
        access.record(exchange())
    sink.tick()

    assert [json.loads(written)["timestamp"][17:] for written in sink.lines] == [
        "05.678Z",
        "05.678Z",
        "05.679Z",
        "06.000Z",
    ]


@pytest.mark.case("S-319")
@given(path=st.binary(max_size=2000), method=st.binary(max_size=20))
def test_whatever_stands_in_a_request_line_is_one_line_of_valid_json(path, method):
    written = line(target=b"/" + path, method=method)

    assert written[:-1].decode("ascii").isprintable()
    event = json.loads(written)
    assert len(json.dumps(event["path"])) - 2 <= 1024
    if not event["path"].endswith("[truncated]"):
        assert event["path"].encode("latin-1") == b"/" + path.partition(b"?")[0]
        assert event["method"].encode("latin-1") == method


@pytest.mark.parametrize(
    "path",
    [
        b"/x/canary-secret+/y", b'/x/"canary-secret+/y', b"/" + b"x" * 1005 + b"canary-secret+/",
        b"/canary-secret%2B%2F", b"/canary-secret%2b%2f/y",
    ],
)  # fmt: skip
def test_the_secrets_of_the_connection_do_not_stand_in_its_lines(path):
    written = line(target=path, secrets=(b"canary-secret+/", b"canary-other"))

    assert b"canary" not in written
    assert b"***" in written


@pytest.mark.parametrize("path", ["/x/{}/y", "/x/{}%2fy", '/"/{}', "/%"], ids=["plain", "code", "odd", "encoded"])
def test_what_begins_like_an_earlier_token_does_not_stand_in_a_line(path):
    earlier = "an-earlier-token-of-the-connection"
    path = path.format(earlier) if "{" in path else "/" + "".join(f"%{ord(letter):02x}" for letter in earlier)
    beginning = Beginning(earlier[:12].encode())

    written = line(target=path.encode(), secrets=(b"the-token-of-now", beginning))

    assert b"earlier" not in written
    assert b"%65" not in written
    assert json.loads(written)["path"].endswith("***")


def test_a_line_for_a_terminal_holds_the_same_fields():
    sink = Kept()
    access = AccessLog(sink, StoppedClock(), sink.soon, lambda event: console_line(event, colours=False))
    access.record(exchange(target=b"/crm/canary-secret\x1b[2J", secrets=(b"canary-secret",)))
    sink.tick()

    [written] = sink.lines
    assert written.startswith(b"03:04:05.678 info    exchange           connection=crm method=GET ")
    assert b"path=/crm/***\\u001b[2J status=200 attempts=1 renewed=false ms_total=12.346 " in written


def test_lines_wait_for_others_until_the_next_tick_which_is_asked_for_once():
    sink = Kept()
    access = AccessLog(sink, StoppedClock(), sink.soon)
    for number in (1, 2):
        access.record(exchange(status=200 + number))
    written_before, asked = len(sink.lines), len(sink.calls)
    sink.tick()
    access.record(exchange())

    assert (written_before, asked) == (0, 1)
    assert [json.loads(line)["status"] for line in sink.lines] == [201, 202]
    assert len(sink.calls) == 1


def test_a_full_batch_does_not_wait():
    sink = Kept()
    access = AccessLog(sink, StoppedClock(), sink.soon)
    for _ in range(BATCH + 1):
        access.record(exchange())

    assert len(sink.lines) == BATCH


def test_the_end_leaves_no_line_behind():
    sink = Kept()
    access = AccessLog(sink, StoppedClock(), sink.soon)
    access.record(exchange())
    access.flush()
    access.flush()

    assert len(sink.lines) == 1
