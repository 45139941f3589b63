"""Exchanges that take part in a trace: whose request it was, and under which id it goes on (W3C Trace Context).

Without tracing `traceparent` and `tracestate` pass as they came, like any field. With it, the upstream learns the id
of our own span, which is a child of the application's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from proxy.exchange.flow import Exchange
from proxy.exchange.record import ExchangeRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.exchange.plan import Plan
    from proxy.exchange.stream import Client
    from proxy.exchange.surroundings import Surroundings
    from proxy.wire.request import RequestHead

_FIELDS: Final = re.compile(rb"\r\n(trace(?:parent|state))[ \t]*:[ \t]*([^\r\n]*?)[ \t]*(?=\r\n)", re.IGNORECASE)
# Version 00 ends after the flags; a later one may go on (W3C Trace Context §2.2.2, §4).
_PARENT: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED: Final = 1


@dataclass(frozen=True, slots=True)
class Parent:
    """The span that a request came from: ids as numbers, and whether its trace is recorded."""

    trace_id: int
    span_id: int
    sampled: bool


@dataclass(frozen=True, slots=True)
class Trace:
    """Where an exchange stands: `span_id` is its own span, `upstream_id` that of its part towards the upstream."""

    trace_id: int
    parent: Parent | None
    span_id: int
    upstream_id: int
    sampled: bool

    @property
    def line(self) -> bytes:
        r"""The field for the upstream, `\\r\\ntraceparent: …`."""
        return b"\r\ntraceparent: 00-%032x-%016x-%02x" % (self.trace_id, self.upstream_id, self.sampled)


class Sampler(Protocol):
    """Decides which traces are recorded."""

    def samples(self, trace_id: int, parent: Parent | None) -> bool:
        """Tell whether this trace is to be recorded."""
        ...


def parent_of(values: list[bytes]) -> Parent | None:
    """Return whom the values of `traceparent` name; None for none, for several, and for what is malformed (§2.2)."""
    found = _PARENT.fullmatch(values[0]) if len(values) == 1 else None
    if found is None:
        return None
    version, trace, span, flags, more = found.groups()
    if version == b"ff" or (version == b"00" and more) or not int(trace, 16) or not int(span, 16):
        return None
    return Parent(int(trace, 16), int(span, 16), bool(int(flags, 16) & _SAMPLED))


class TracedRecord(ExchangeRecord):
    """The record of an exchange that is part of a trace."""

    __slots__ = ("trace",)

    def __init__(self, connection: str, method: bytes, target: bytes, trace: Trace) -> None:
        super().__init__(connection, method, target)
        self.trace = trace

    @property
    def server(self) -> bytes:
        """The authority that the upstream was asked as."""
        return self.host_line.partition(b":")[2].strip()


class Tracing:
    """Makes exchanges that take part in traces, of one `kind`. `bits` gives a number of so many random bits."""

    def __init__(self, sampler: Sampler, bits: Callable[[int], int], kind: type[Exchange] = Exchange) -> None:
        self._sampler = sampler
        self._bits = bits
        self._kind = kind

    def exchange(
        self, surroundings: Surroundings, client: Client, plan: Plan, head: RequestHead, *, strip_authorization: bool
    ) -> Exchange:
        """Return the exchange of one head, whose fields are changed: it goes on under the id of our span."""
        exchange = self._kind(surroundings, client, plan, head, strip_authorization=strip_authorization)
        trace = take_part(self._sampler, self._bits, head)
        exchange.record = TracedRecord(plan.name, head.method, head.target, trace)
        return exchange


def take_part(sampler: Sampler, bits: Callable[[int], int], head: RequestHead) -> Trace:
    """Put our place in the trace into the head; `bits` gives a number of so many random bits for ids of ours.

    The state of a trace that can't be gone on with ends here (§3.3).
    """
    found = _FIELDS.findall(head.lines)
    parent = parent_of([value for name, value in found if name.lower() == b"traceparent"])
    trace_id = parent.trace_id if parent is not None else _id(bits, 128)
    trace = Trace(trace_id, parent, _id(bits, 64), _id(bits, 64), sampler.samples(trace_id, parent))
    gone = (b"traceparent",) if parent is not None else (b"traceparent", b"tracestate")
    lines = _FIELDS.sub(lambda field: b"" if field[1].lower() in gone else field[0], head.lines)
    head.lines = lines[:-2] + trace.line + b"\r\n"
    return trace


def _id(bits: Callable[[int], int], size: int) -> int:
    return bits(size) or 1  # an id of noughts is none (§2.2.3, §2.2.4)
