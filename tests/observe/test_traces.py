"""Spans of exchanges, as a collector gets them by OTLP, and what the upstream learns of the trace."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from proxy.exchange.traced import Parent, parent_of, take_part
from proxy.wire.request import HeadLimits, parse_request
from tests.support.deadline import awaiting
from tests.support.scripts import replies_then_fin, response
from tests.support.stage import Stage
from tests.support.upstream import Upstream, listen

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.upstream import Request

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
KINDS = Span.SpanKind


class Collector:
    """Takes spans on a port of its own."""

    def __init__(self) -> None:
        self.server = Upstream(listen())
        self.server.always(self._take)
        self.spans: list[Span] = []
        self.services: set[str] = set()
        self._came = asyncio.Condition()

    @property
    def environment(self) -> dict[str, str]:
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.server.port}",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "HTTP_PROXY": "http://127.0.0.1:9",  # of others; spans do not go through it
        }

    async def _take(self, request: Request) -> None:
        assert request.line == b"POST /v1/traces HTTP/1.1"
        sent = ExportTraceServiceRequest.FromString(await request.read_body())
        async with self._came:
            for of in sent.resource_spans:
                self.services |= {
                    each.value.string_value for each in of.resource.attributes if each.key == "service.name"
                }
                self.spans += [span for scope in of.scope_spans for span in scope.spans]
            self._came.notify_all()
        await request.send(response(b"", b"Content-Type: application/x-protobuf", b"Connection: close"))

    async def until(self, count: int) -> list[Span]:
        async with awaiting(f"{count} spans"), self._came:
            await self._came.wait_for(lambda: len(self.spans) >= count)
        return sorted(self.spans, key=lambda span: span.kind)


def told(span: Span) -> dict[str, object]:
    return {each.key: getattr(each.value, str(each.value.WhichOneof("value"))) for each in span.attributes}


async def staged(
    folder: Path, collector: Collector, wait: str = "15s", listeners: dict[str, Any] | None = None, **environment: str
) -> Stage:
    stage = Stage({"crm": {}}, {"limits": {"token_wait": wait}, "listeners": listeners or {}})
    await collector.server.start()
    await stage.start(folder, environment=collector.environment | environment)
    return stage


@pytest.mark.case("S-311")
async def test_an_exchange_is_a_span_of_the_callers_trace_and_the_upstreams_parent(tmp_path: Path):
    collector = Collector()
    stage = await staged(tmp_path, collector, OTEL_SERVICE_NAME="shop-proxy")
    try:
        case = await stage.case("crm")
        case.upstream.refused_tokens.add(case.token())
        parent = f"traceparent: 00-{TRACE}-{CALLER}-01".encode()
        answer = await case.ask(case.request(parent, b"tracestate: a=1", target=b"/v3/contacts?key=value"))
        server, client = await collector.until(2)
        first, second = (request.values(b"traceparent") for request in case.upstream.requests)
        state = case.upstream.requests[1].values(b"tracestate")
        await case.close()
    finally:
        await stage.close()
        await collector.server.close()

    assert answer.status == 200
    assert (server.kind, server.trace_id.hex(), server.parent_span_id.hex()) == (KINDS.SPAN_KIND_SERVER, TRACE, CALLER)
    assert (client.kind, client.trace_id.hex(), client.parent_span_id) == (
        KINDS.SPAN_KIND_CLIENT,
        TRACE,
        server.span_id,
    )
    assert first == second == [f"00-{TRACE}-{client.span_id.hex()}-01".encode()]
    assert state == [b"a=1"]
    seen = told(server)
    assert re.fullmatch(r"[0-9a-f]+-[0-9a-f]+", str(seen.pop("iclient_proxy.request_id")))
    assert float(str(seen.pop("iclient_proxy.token_wait"))) > 0
    assert seen == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "iclient_proxy.connection": "crm",
        "iclient_proxy.attempts": 2,
        "iclient_proxy.renewed": True,
        "url.path": "/crm/v3/contacts",
    }
    assert told(client)["server.port"] == case.upstream.port
    assert told(client)["http.request.resend_count"] == 1
    assert server.start_time_unix_nano <= client.start_time_unix_nano < client.end_time_unix_nano
    assert collector.services == {"shop-proxy"}
    assert b"canary-" not in b"".join(span.SerializeToString() for span in collector.spans)


async def test_what_the_caller_does_not_record_is_not_recorded_and_a_trace_may_begin_here(tmp_path: Path):
    collector = Collector()
    stage = await staged(tmp_path, collector)
    try:
        case = await stage.case("crm")
        await case.ask(case.request(f"traceparent: 00-{TRACE}-{CALLER}-00".encode()))
        await case.ask(case.request(b"traceparent: 00-banana", b"tracestate: a=1"))
        server, client = await collector.until(2)
        silent, begun = case.upstream.requests
        await case.close()
    finally:
        await stage.close()
        await collector.server.close()

    assert re.fullmatch(
        rb"00-%b-(?!%b)[0-9a-f]{16}-00" % (TRACE.encode(), CALLER.encode()), silent.values(b"traceparent")[0]
    )
    assert begun.values(b"traceparent") == [f"00-{server.trace_id.hex()}-{client.span_id.hex()}-01".encode()]
    assert begun.values(b"tracestate") == []  # it belonged to a trace that could not be gone on with
    assert (server.parent_span_id, len(collector.spans)) == (b"", 2)
    assert collector.services == {"iclient-proxy"}


async def test_a_refused_request_is_a_failed_span_of_the_proxy_alone(tmp_path: Path):
    collector = Collector()
    stage = await staged(tmp_path, collector, wait="200ms")
    try:
        case = await stage.case("crm")
        stage.tokens.failing.add("crm")
        answer = await case.ask(case.request())
        await collector.until(1)
        await case.close()
    finally:
        await stage.close()
        await collector.server.close()

    assert (answer.status, [span.kind for span in collector.spans]) == (503, [KINDS.SPAN_KIND_SERVER])
    assert collector.spans[0].status.code == Status.STATUS_CODE_ERROR
    assert case.upstream_requests == 0


async def test_where_bodies_go_out_in_chunks_since_nothing_else_shows_a_cut_spans_are_sent_too(tmp_path: Path):
    unix = {"bind": f"unix:{tmp_path}/proxy.sock", "allowed_hosts": ["127.0.0.1"]}
    collector = Collector()
    stage = await staged(tmp_path, collector, listeners={"reverse": [{"bind": "127.0.0.1:0"}, unix]})
    try:
        case = await stage.case("crm")
        case.upstream.answers(replies_then_fin(b"HTTP/1.1 200 OK\r\n\r\nhello"))
        client = await case.connect(stage.process.sockets[0])
        answer = await client.ask(case.request(f"traceparent: 00-{TRACE}-{CALLER}-01".encode()))
        spans = await collector.until(2)
        await case.close()
    finally:
        await stage.close()
        await collector.server.close()

    assert (answer.body, answer.values(b"transfer-encoding"), answer.complete) == (b"hello", [b"chunked"], True)
    assert {span.trace_id.hex() for span in spans} == {TRACE}


async def test_without_a_place_for_spans_the_trace_passes_as_it_came(tmp_path: Path):
    stage = Stage({"crm": {}}, {})
    await stage.start(tmp_path)
    try:
        case = await stage.case("crm")
        await case.ask(case.request(f"Traceparent: 00-{TRACE}-{CALLER}-01".encode(), b"tracestate: a=1,b=2"))
        [request] = case.upstream.requests
        await case.close()
    finally:
        await stage.close()

    assert f"\r\nTraceparent: 00-{TRACE}-{CALLER}-01\r\ntracestate: a=1,b=2\r\n".encode() in request.head


@pytest.mark.parametrize(
    ("values", "parent"),
    [
        ([f"00-{TRACE}-{CALLER}-01"], Parent(int(TRACE, 16), int(CALLER, 16), sampled=True)),
        ([f"00-{TRACE}-{CALLER}-00"], Parent(int(TRACE, 16), int(CALLER, 16), sampled=False)),
        ([f"00-{TRACE}-{CALLER}-03"], Parent(int(TRACE, 16), int(CALLER, 16), sampled=True)),
        ([f"01-{TRACE}-{CALLER}-01-later"], Parent(int(TRACE, 16), int(CALLER, 16), sampled=True)),
        ([], None),
        ([f"00-{TRACE}-{CALLER}-01"] * 2, None),
        ([f"00-{TRACE}-{CALLER}-01-later"], None),
        ([f"ff-{TRACE}-{CALLER}-01"], None),
        ([f"00-{TRACE.upper()}-{CALLER}-01"], None),
        ([f"00-{'0' * 32}-{CALLER}-01"], None),
        ([f"00-{TRACE}-{'0' * 16}-01"], None),
        ([f"00-{TRACE}-{CALLER}-1"], None),
    ],
)
def test_the_parent_is_read_as_the_standard_says(values, parent):
    assert parent_of([value.encode() for value in values]) == parent


class Everything:
    """Records each trace."""

    def samples(self, trace_id: int, parent: Parent | None) -> bool:
        return True


@pytest.mark.parametrize(
    ("field", "bits", "line"),
    [
        ("X-A: 1", [7, 8, 9], f"00-{7:032x}-{9:016x}-01"),
        ("X-A: 1", [0, 0, 0], f"00-{1:032x}-{1:016x}-01"),  # an id of noughts is none
        (f"traceparent: 00-{TRACE}-{CALLER}-01", [8, 9], f"00-{TRACE}-{9:016x}-01"),
    ],
    ids=["a trace that begins", "noughts", "a trace that goes on"],
)
def test_ids_are_made_of_the_entropy_that_is_handed_in(field: str, bits: list[int], line: str):
    limits = HeadLimits(size=2000, line=500, fields=20, target=300)
    head = parse_request(f"GET /x HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n".encode(), limits)
    assert head is not None
    asked: list[int] = []

    def next_bits(size: int) -> int:
        asked.append(size)
        return bits[len(asked) - 1]

    take_part(Everything(), next_bits, head)

    assert f"\r\ntraceparent: {line}\r\n".encode() in head.lines
    assert asked == [128, 64, 64][-len(bits) :]
