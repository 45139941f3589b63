"""`python -m bench.classify`: what the rules of auth_errors add to one response, in microseconds of CPU.

No sockets: the same calls as in the data path, for a response that came whole. Best of several runs, since whatever
else the machine does only adds. Exit status 1 when a row misses its bar.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from proxy.access_token import AccessToken, Refused
from proxy.definitions.models import AuthErrorRule, AuthErrors, Replay
from proxy.exchange.classify import Classifier
from proxy.exchange.inspection import Bounds
from proxy.exchange.judgement import Judgement
from proxy.exchange.record import ConnectionCounters, ExchangeRecord
from proxy.exchange.replay import HeldResponse, ReplayMemory
from proxy.secret import Secret
from proxy.wire.heads import parse_request, parse_response
from proxy.wire.request import HeadLimits

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.exchange.plan import Plan
    from proxy.exchange.policy import Next
    from proxy.exchange.surroundings import Surroundings
    from proxy.wire.request import RequestHead
    from proxy.wire.response import ResponseHead

_RUNS: Final = 15
_LIMITS: Final = HeadLimits(65536, 16384, 128, 16384)
_STATUS: Final = AuthErrors()
_BODY: Final = AuthErrors(
    any=(AuthErrorRule(name="token", path="error.code", values=("190", "EXPIRED*")), *_STATUS.any)
)
_SOAP: Final = AuthErrors(
    any=(AuthErrorRule(name="soap", path="//*[local-name()='Fault']/faultcode", values=("sf:INVALID_SESSION_ID",)),)
)
_FAULT: Final = (
    b'<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault>'
    b"<faultcode>sf:OTHER</faultcode><faultstring>no</faultstring></s:Fault></s:Body></s:Envelope>"
)


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of response under one set of rules. `bar` is in microseconds, None where none is set."""

    title: str
    errors: AuthErrors
    body: bytes
    coding: bytes = b""
    bar: float | None = None


class _Verdicts:
    """Where no token has been refused lately."""

    unproven = False

    def refused(self, token: AccessToken, *, replayed: bool) -> Refused:
        return Refused.RELAY

    def accepted(self, token: AccessToken) -> None:
        pass


@dataclass
class _Plan:
    classifier: Classifier
    counters: ConnectionCounters
    verdicts: _Verdicts
    replay: Replay


@dataclass
class _Surroundings:
    memory: ReplayMemory
    bounds: Bounds
    loop: asyncio.AbstractEventLoop


class _Exchange:
    """Takes the judgement and does nothing with it."""

    def is_replayable(self, status: int) -> bool:
        return True

    def judged(self, held: HeldResponse, way: Next) -> None:
        pass


def records(size: int) -> bytes:
    """Return JSON of about so many bytes, as a list of an API's records."""
    made: list[dict[str, object]] = []
    while len(json.dumps({"ok": True, "items": made})) < size:
        number = len(made)
        made.append(
            {"id": number, "name": f"customer {number}", "email": f"c{number}@example.com", "active": True,
             "balance": 12.5 * number, "tags": ["a", "b"]}
        )  # fmt: skip
    return json.dumps({"ok": True, "items": made}).encode()


def rows() -> list[Row]:
    """Return what is measured."""
    small, large = records(2 * 1024), records(63 * 1024)
    return [
        Row("rules of statuses only, 200", _STATUS, small),
        Row("body rule, 2 KiB of JSON", _BODY, small, bar=25),
        Row("body rule, 2 KiB of JSON, gzip", _BODY, gzip.compress(small), b"gzip"),
        Row("body rule, 64 KiB of JSON", _BODY, large, bar=250),
        Row("body rule, 64 KiB of JSON, gzip", _BODY, gzip.compress(large), b"gzip"),
        Row("XPath rule, a SOAP fault", _SOAP, _FAULT),
        Row("XPath rule, 2 KiB of JSON", _SOAP, small),
    ]


def judge(row: Row) -> Callable[[], None]:
    """Return what the data path does with the row's response between its head and its relay."""
    loop = asyncio.new_event_loop()
    coding = b"Content-Encoding: " + row.coding + b"\r\n" if row.coding else b""
    raw = (
        b"HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nServer: api\r\nContent-Type: application/json\r\n"
        b"X-Request-Id: 0123456789abcdef\r\nCache-Control: no-store\r\nVary: Accept\r\n"
        + coding
        + b"Content-Length: %d\r\n\r\n"
    ) % len(row.body)
    head = cast("ResponseHead", parse_response(raw, _LIMITS))
    request = cast("RequestHead", parse_request(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n", _LIMITS))
    plan = _Plan(Classifier(row.errors), ConnectionCounters("a"), _Verdicts(), Replay())
    surroundings = _Surroundings(ReplayMemory(1 << 26), Bounds(65536, 262144, 2.0), loop)
    record = ExchangeRecord("a", b"GET", b"/x")
    token = AccessToken(Secret("t"), 1)
    exchange = _Exchange()
    loop.close()

    def once() -> None:
        if plan.classifier.suspects[head.status]:
            held = HeldResponse(head, row.body, done=True)
            judgement = Judgement(exchange, cast("Surroundings", surroundings), cast("Plan", plan), record, token, held)
            judgement.begin(request)

    return once


def microseconds(call: Callable[[], None]) -> float:
    """Return the CPU time of one call, the best of several runs."""
    times = 20
    best = float("inf")
    for _ in range(_RUNS):
        begun = time.process_time_ns()
        for _ in range(times):
            call()
        spent = time.process_time_ns() - begun
        best = min(best, spent / times / 1000)
        times = max(20, min(20_000, int(20_000_000 / max(spent / times, 1))))  # about 20 ms a run
    return best


def main() -> int:
    """Measure and print; returns the exit status."""
    missed = False
    print("| what the rules add to a response | us of CPU | bar |\n|---|--:|--:|")
    for row in rows():
        found = microseconds(judge(row))
        missed |= row.bar is not None and found > row.bar
        print(f"| {row.title} ({len(row.body):,} bytes) | {found:.2f} | {row.bar or ''} |")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
