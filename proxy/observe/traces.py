"""Exchanges as spans, sent by OTLP over HTTP: two for each, of the server the proxy is and of the client it is.

On when the environment says where spans go (`OTEL_EXPORTER_OTLP_ENDPOINT`), as for any program with OpenTelemetry's
SDK, whose variables all hold. The SDK queues and sends in a thread of its own; a full queue drops spans, never waits.
"""

from __future__ import annotations

from contextlib import contextmanager
from importlib import metadata
from typing import TYPE_CHECKING, Final

from proxy.errors import MachineError
from proxy.exchange.traced import TracedRecord
from proxy.observe.redact import Redactor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.trace import SpanContext, SpanKind
    from opentelemetry.util.types import AttributeValue

    from proxy.clock import Clock
    from proxy.exchange.record import ExchangeRecord, Recorder
    from proxy.exchange.traced import Parent

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_NAME: Final = "iclient-proxy"
_NANOSECONDS: Final = 1_000_000_000
_METHODS: Final = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"))
_PATH: Final = 1024
_FLUSH: Final = 2_000  # milliseconds that the end of the process waits for what is still queued


def _wanted(environ: Mapping[str, str]) -> bool:
    off = environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none"
    return not off and any(environ.get(name) for name in _ENDPOINTS)


@contextmanager
def spans(environ: Mapping[str, str], clock: Clock, after: Recorder | None) -> Iterator[Spans | None]:
    """Yield what makes spans of records, None where the environment wants none; what waits is sent at the end.

    Raises `MachineError` where the environment asks for what is not here.
    """
    if not _wanted(environ):
        yield None
        return
    made = Spans(environ, clock, after)
    try:
        yield made
    finally:
        made.close()


class Spans:
    """Takes records, makes spans of those that are sampled, and hands every record on."""

    def __init__(self, environ: Mapping[str, str], clock: Clock, after: Recorder | None) -> None:
        protocol = next((environ[name] for name in _PROTOCOLS if environ.get(name)), "http/protobuf")
        if protocol != "http/protobuf":
            raise MachineError(
                "tracing", f"spans are sent by OTLP over HTTP only: set {_PROTOCOLS[1]}=http/protobuf, not {protocol}"
            )
        try:
            # 170 ms: only a process that sends spans pays for it.
            import requests
            from opentelemetry import trace
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import OTELResourceDetector, Resource
            from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.sampling import Decision
            from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        except ImportError as error:
            raise MachineError(
                "tracing",
                f"{_ENDPOINTS[1]} asks for spans, which needs OpenTelemetry: pip install 'iclient-proxy[otel]'",
            ) from error
        version = metadata.version(_NAME)
        own = Resource({"service.name": _NAME, "service.version": version})
        provider: TracerProvider = TracerProvider(
            resource=Resource.create().merge(own).merge(OTELResourceDetector().detect()), shutdown_on_exit=False
        )
        session = requests.Session()
        session.trust_env = False  # an HTTP_PROXY of the environment may be ourselves
        self._processor = BatchSpanProcessor(OTLPSpanExporter(session=session))
        self._provider = provider
        self._trace = trace
        self._span: type[ReadableSpan] = ReadableSpan
        self._recorded = Decision.RECORD_AND_SAMPLE
        self._scope = InstrumentationScope(_NAME, version)
        self._wall = clock.wall
        self._after = after
        self._redact = Redactor()

    def samples(self, trace_id: int, parent: Parent | None) -> bool:
        """Ask the sampler of `OTEL_TRACES_SAMPLER`; by default: what the parent says, and what begins here."""
        context = None
        if parent is not None:
            context = self._trace.set_span_in_context(self._trace.NonRecordingSpan(self._above(trace_id, parent)))
        return self._provider.sampler.should_sample(context, trace_id, _NAME).decision is self._recorded

    def record(self, exchange: ExchangeRecord) -> None:
        """Take the record of one finished exchange."""
        if isinstance(exchange, TracedRecord) and exchange.trace.sampled:
            self._emit(exchange)
        if self._after is not None:
            self._after.record(exchange)

    def close(self) -> None:
        """Send what waits, for at most two seconds."""
        self._processor.force_flush(_FLUSH)
        self._processor.shutdown()  # type: ignore[no-untyped-call]

    def _emit(self, record: TracedRecord) -> None:
        trace, kinds = record.trace, self._trace.SpanKind
        end = self._wall()
        above = self._above(trace.trace_id, trace.parent) if trace.parent is not None else None
        server = self._own(trace.trace_id, trace.span_id)
        path = self._redact(record.path[:_PATH]).decode("latin-1")
        self._processor.on_end(
            self._made(
                f"{_method(record)} {record.connection}", server, above, kinds.SERVER, end, record.seconds_total,
                _of_the_exchange(record, path), failed=record.status >= 500,
            )
        )  # fmt: skip
        if record.attempts:
            client = self._own(trace.trace_id, trace.upstream_id)
            self._processor.on_end(
                self._made(
                    _method(record), client, server, kinds.CLIENT, end, record.seconds_upstream,
                    _of_the_upstream(record), failed=record.status >= 400,
                )
            )  # fmt: skip

    def _made(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        kind: SpanKind,
        end: float,
        seconds: float,
        attributes: dict[str, AttributeValue],
        *,
        failed: bool,
    ) -> ReadableSpan:
        codes = self._trace.StatusCode
        return self._span(
            name,
            context,
            parent,
            self._provider.resource,
            attributes,
            kind=kind,
            status=self._trace.Status(codes.ERROR if failed else codes.UNSET),
            start_time=int((end - seconds) * _NANOSECONDS),
            end_time=int(end * _NANOSECONDS),
            instrumentation_scope=self._scope,
        )

    def _above(self, trace_id: int, parent: Parent) -> SpanContext:
        flags = self._trace.TraceFlags(int(parent.sampled))
        return self._trace.SpanContext(trace_id, parent.span_id, is_remote=True, trace_flags=flags)

    def _own(self, trace_id: int, span_id: int) -> SpanContext:
        flags = self._trace.TraceFlags(self._trace.TraceFlags.SAMPLED)
        return self._trace.SpanContext(trace_id, span_id, is_remote=False, trace_flags=flags)


def _method(record: ExchangeRecord) -> str:
    return record.method.decode("latin-1") if record.method in _METHODS else "_OTHER"


def _of_both(record: ExchangeRecord) -> dict[str, AttributeValue]:
    return {
        "http.request.method": _method(record),
        "http.response.status_code": record.status,
        "iclient_proxy.connection": record.connection,
    }


def _of_the_exchange(record: ExchangeRecord, path: str) -> dict[str, AttributeValue]:
    return {
        **_of_both(record),
        "url.path": path,
        "iclient_proxy.request_id": record.request_id,
        "iclient_proxy.attempts": record.attempts,
        "iclient_proxy.renewed": record.renewed,
        "iclient_proxy.token_wait": record.seconds_token,
    }


def _of_the_upstream(record: TracedRecord) -> dict[str, AttributeValue]:
    found = _of_both(record) | {"http.request.resend_count": record.attempts - 1}
    host, _, port = record.server.decode("latin-1").rpartition(":")
    if host and port.isdigit():
        return found | {"server.address": host, "server.port": int(port)}
    return found | {"server.address": record.server.decode("latin-1")}
