"""Metrics as text, rendered from plain counters, in pieces small enough that no exchange waits for a scrape.

An own renderer, because prometheus_client takes 15 ms for 250 series in one go, and a thousand connections have
80,000 (docs/performance.md). Labels come from definitions and closed sets, never from requests. Known series begin
at 0.
"""

from __future__ import annotations

import asyncio
import platform
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final, Protocol

from proxy.oauth.failure import Outcome
from proxy.problem import PROBLEMS
from proxy.tokens.states import State
from proxy.wire.heads import FORM

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence

    from proxy.exchange.record import ConnectionCounters, ProcessCounters
    from proxy.histogram import Histogram

_STATES: Final = tuple(state.value for state in State)
_OUTCOMES: Final = tuple(outcome.value for outcome in Outcome)
_PREFIX: Final = "iclient_proxy_"
_CERTIFICATE: Final = "client_certificate_expiry_timestamp_seconds"
# A histogram of so many connections is rendered in about 0.3 ms.
_STEP: Final = 50
_PLAIN: Final = "text/plain; version=0.0.4; charset=utf-8"
_OPEN: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class TokenView(Protocol):
    """What the keeper of one connection's token shows: its state, its expiry, how its token requests went."""

    @property
    def state(self) -> str:
        """The value of a `State`."""
        ...

    @property
    def expires_at(self) -> float | None:
        """Seconds since the epoch; None when there is no token, or it lives until it is refused."""
        ...

    @property
    def skew(self) -> float:
        """How far the authorization server's clock is ahead of ours, in seconds."""
        ...


class TokenRequests(Protocol):
    """How the token requests of one connection went."""

    @property
    def outcomes(self) -> Mapping[tuple[str, str], int]:
        """Counts by grant and outcome."""
        ...

    @property
    def duration(self) -> Histogram:
        """Seconds a token request took."""
        ...


@dataclass(frozen=True, slots=True)
class Watched:
    """One connection as a scrape sees it.

    `rules` are the names of its rules, `grants` those its token requests may have. `token` and `requests` are None for
    a connection that needs no token, and so is `at_risk`: whether a restart would lose its grant. `certificates` are
    the client certificates it shows, by the peer that sees them (`authorization_server`, `upstream`), each with its
    end in wall seconds.
    """

    counters: ConnectionCounters
    rules: tuple[str, ...] = ()
    grants: tuple[str, ...] = ()
    token: Callable[[], TokenView] | None = None
    requests: TokenRequests | None = None
    certificates: tuple[tuple[str, float], ...] = ()
    at_risk: Callable[[], bool] | None = None


@dataclass(frozen=True, slots=True)
class WorkerView:
    """One of the processes that share the listeners; `started` counts how often it has begun.

    `resident` is in bytes, `cpu` in seconds, over all that had its number before; `files` are open.
    """

    number: int
    serves: bool
    started: int
    resident: int
    cpu: float
    files: int


@dataclass(frozen=True, slots=True)
class Gathered:
    """What all processes have counted together."""

    process: ProcessCounters
    watched: Sequence[Watched]
    lines_dropped: int
    workers: Sequence[WorkerView]


@dataclass(slots=True)
class LastReload:
    """How the last reading of the definitions went, the one at the start being the first.

    `succeeded_at` is the wall time, in seconds, of the last one that was applied.
    """

    succeeded_at: float
    successful: bool = True


@dataclass(frozen=True, slots=True)
class Scrape:
    """One exposition: its media type, and its text in pieces that are rendered when they are asked for."""

    content_type: str
    pieces: Iterator[bytes]


class Metrics:
    """Renders every metric of the process. `watched` returns the connections there are now, `-` among them.

    `count` brings the counters up to date; `gather` adds what other processes have counted, where there are any.
    """

    def __init__(
        self,
        process: ProcessCounters,
        watched: Callable[[], Sequence[Watched]],
        version: str,
        last_reload: LastReload,
        store_available: Callable[[], bool | None] = lambda: None,
        lines_dropped: Callable[[], int] = lambda: 0,
        count: Callable[[], None] = lambda: None,
        gather: Callable[[Gathered], Awaitable[Gathered]] | None = None,
    ) -> None:
        self._count = count
        self._gather = gather
        self._lines_dropped = lines_dropped
        self._store_available = store_available
        self._last_reload = last_reload
        self._process = process
        self._watched = watched
        self._version = version

    async def scrape(self, accept: str) -> Scrape:
        """Return the exposition in the format that the `Accept` field `accept` asks for."""
        openmetrics = wants_openmetrics(accept)
        machine = await asyncio.to_thread(_machine, openmetrics=openmetrics)
        self._count()
        gathered = Gathered(self._process, self._watched(), self._lines_dropped(), ())
        if self._gather is not None:
            gathered = await self._gather(gathered)
        return Scrape(_OPEN if openmetrics else _PLAIN, self._pieces(gathered, machine, openmetrics=openmetrics))

    def _pieces(self, gathered: Gathered, machine: bytes, *, openmetrics: bool) -> Iterator[bytes]:
        text = _Text(openmetrics=openmetrics)
        yield "".join(self._of_process(text, gathered)).encode()
        yield "".join(_of_workers(text, gathered.workers)).encode()
        for lines in _of_connections(text, gathered.watched):
            yield "".join(lines).encode()
        yield machine + b"# EOF\n" if openmetrics else machine

    def _of_process(self, text: _Text, gathered: Gathered) -> Iterator[str]:
        process = gathered.process
        yield text.head(
            "build", "info", "Versions of the proxy and of its interpreter; whether its data path is compiled."
        )
        labels = f'version="{_escape(self._version)}",python="{platform.python_version()}",form="{FORM}"'
        yield f"{_PREFIX}build_info{{{labels}}} 1\n"
        yield text.head("overhead_seconds", "histogram", "Time of an exchange that neither upstream nor token took.")
        yield from text.histogram("overhead_seconds", "", process.overhead)
        yield text.head("in_flight_requests", "gauge", "Exchanges under way.")
        yield f"{_PREFIX}in_flight_requests {process.in_flight}\n"
        yield text.head("tunnels_open", "gauge", "Tunnels open: upgraded streams.")
        yield f"{_PREFIX}tunnels_open {process.tunnels_open}\n"
        yield text.head("slow_clients_closed", "counter", "Streams closed because their client did not read or write.")
        yield f"{_PREFIX}slow_clients_closed_total {process.slow_clients_closed}\n"
        yield text.head("local_replies", "counter", "Answers of the proxy itself, by their code.")
        for code, count in (dict.fromkeys(PROBLEMS, 0) | process.local_replies).items():
            yield f'{_PREFIX}local_replies_total{{code="{_escape(code)}"}} {count}\n'
        yield text.head("log_lines_dropped", "counter", "Log lines that could not be written.")
        yield f"{_PREFIX}log_lines_dropped_total {gathered.lines_dropped}\n"
        yield text.head("loop_lag_seconds", "histogram", "How late the event loop came to its sweep.")
        yield from text.histogram("loop_lag_seconds", "", process.loop_lag)
        yield text.head("loop_stalls", "counter", "How often the event loop stood still for a second.")
        yield f"{_PREFIX}loop_stalls_total {process.loop_stalls}\n"
        yield text.head("memory_pressure", "gauge", "Of the limit of the cgroup: 0 below 85 %, 1 above, 2 above 95 %.")
        yield f"{_PREFIX}memory_pressure {process.memory_pressure}\n"
        yield text.head("store_errors", "counter", "What could not be done with a stored grant.")
        for operation, count in process.store_errors.items():
            yield f'{_PREFIX}store_errors_total{{operation="{operation}"}} {count}\n'
        if (available := self._store_available()) is not None:
            yield text.head("store_available", "gauge", "1 while the server of the grants does what it is asked.")
            yield f"{_PREFIX}store_available {int(available)}\n"
        last = self._last_reload
        yield text.head("config_last_reload_successful", "gauge", "1 if the definitions last read were applied.")
        yield f"{_PREFIX}config_last_reload_successful {int(last.successful)}\n"
        yield text.head("config_last_reload_success_timestamp_seconds", "gauge", "When definitions were last applied.")
        yield f"{_PREFIX}config_last_reload_success_timestamp_seconds {last.succeeded_at:.3f}\n"


def _of_workers(text: _Text, workers: Sequence[WorkerView]) -> Iterator[str]:
    """Yield what is known of the processes that share the listeners; nothing where one process does it all."""
    families: tuple[tuple[str, str, str, Callable[[WorkerView], float]], ...] = (
        ("worker_up", "gauge", "1 while a worker serves.", lambda of: int(of.serves)),
        ("worker_starts", "counter", "How often a worker has begun.", lambda of: of.started),
        ("worker_resident_memory_bytes", "gauge", "Resident memory of a worker.", lambda of: of.resident),
        ("worker_cpu_seconds", "counter", "CPU time of a worker and those before it.", lambda of: of.cpu),
        ("worker_open_fds", "gauge", "File descriptors a worker has open.", lambda of: of.files),
    )
    for name, kind, about, value in families if workers else ():
        yield text.head(name, kind, about)
        series = f"{name}_total" if kind == "counter" else name
        for worker in workers:
            yield f'{_PREFIX}{series}{{worker="{worker.number}"}} {value(worker)}\n'


def wants_openmetrics(accept: str) -> bool:
    """Tell whether an `Accept` field prefers OpenMetrics 1.0 to the older text format (RFC 9110 §12.5.1)."""
    weights = {"application/openmetrics-text": 0.0, "text/plain": 0.0}
    for part in accept.split(","):
        media, *parameters = (piece.strip().lower() for piece in part.split(";"))
        fields = dict(parameter.partition("=")[::2] for parameter in parameters)
        known = media in weights and (media == "text/plain" or fields.get("version", "1.0.0").startswith("1."))
        if known:
            weights[media] = max(weights[media], _weight(fields.get("q", "1")))
    return weights["application/openmetrics-text"] > 0.0 and (
        weights["application/openmetrics-text"] >= weights["text/plain"]
    )


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _machine(*, openmetrics: bool) -> bytes:
    # 59 ms and 14 MiB: only a process that is scraped pays for it.
    from proxy.observe.machine import render

    return render(openmetrics=openmetrics)


def _of_connections(text: _Text, watched: Sequence[Watched]) -> Iterator[Iterable[str]]:
    """Yield the lines of each metric of the connections, some connections at a time."""
    with_token = [each for each in watched if each.requests is not None]
    families: tuple[tuple[str, str, str, Callable[[_Text, Watched], Iterable[str]], Sequence[Watched]], ...] = (
        ("requests", "counter", "Exchanges by the status the application got.", _requests, watched),
        ("request_duration_seconds", "histogram", "Time of an exchange, from its head to its end.", _duration, watched),
        ("upstream_duration_seconds", "histogram", "Time an exchange waited for the upstream.", _upstream, watched),
        ("auth_errors", "counter", "Responses that a rule took for an auth error.", _auth_errors, watched),
        ("replays", "counter", "What became of exchanges with an auth error.", _replays, watched),
        ("token_requests", "counter", "Token requests by grant and outcome.", _token_requests, with_token),
        ("token_request_duration_seconds", "histogram", "Time of a token request.", _token_duration, with_token),
        ("token_expiry_timestamp_seconds", "gauge", "When the access token expires.", _token_expiry, with_token),
        ("as_clock_skew_seconds", "gauge", "The authorization server's clock minus ours.", _clock_skew, with_token),
        (_CERTIFICATE, "gauge", "When a client certificate expires, by who is shown it.", _certificates, watched),
        ("grant_at_risk", "gauge", "1 if a restart now would lose the grant or its rotation.", _at_risk, with_token),
        ("token_state", "gauge", "1 for the state the token is in.", _token_state, watched),
    )
    for name, kind, about, lines, members in families:
        yield (text.head(name, kind, about),)
        for first in range(0, len(members), _STEP):
            yield [line for member in members[first : first + _STEP] for line in lines(text, member)]


def _requests(_: _Text, of: Watched) -> Iterator[str]:
    head = f'{_PREFIX}requests_total{{connection="{of.counters.connection}",code="'
    return (f'{head}{code}"}} {count}\n' for code, count in list(of.counters.requests.items()))


def _duration(text: _Text, of: Watched) -> Iterator[str]:
    return text.histogram("request_duration_seconds", of.counters.connection, of.counters.duration)


def _upstream(text: _Text, of: Watched) -> Iterator[str]:
    return text.histogram("upstream_duration_seconds", of.counters.connection, of.counters.upstream)


def _auth_errors(_: _Text, of: Watched) -> Iterator[str]:
    head = f'{_PREFIX}auth_errors_total{{connection="{of.counters.connection}",rule="'
    counts = dict.fromkeys(of.rules, 0) | of.counters.auth_errors
    return (f'{head}{_escape(rule)}"}} {count}\n' for rule, count in counts.items())


def _replays(_: _Text, of: Watched) -> Iterator[str]:
    head = f'{_PREFIX}replays_total{{connection="{of.counters.connection}",outcome="'
    return (f'{head}{outcome}"}} {count}\n' for outcome, count in of.counters.replays.items())


def _token_requests(_: _Text, of: Watched) -> Iterator[str]:
    if of.requests is not None:
        counts = {(grant, outcome): 0 for grant in of.grants for outcome in _OUTCOMES}
        counts.update(of.requests.outcomes)
        head = f'{_PREFIX}token_requests_total{{connection="{of.counters.connection}",grant="'
        for (grant, outcome), count in counts.items():
            yield f'{head}{grant}",outcome="{outcome}"}} {count}\n'


def _token_duration(text: _Text, of: Watched) -> Iterator[str]:
    if of.requests is not None:
        yield from text.histogram("token_request_duration_seconds", of.counters.connection, of.requests.duration)


def _token_expiry(_: _Text, of: Watched) -> Iterator[str]:
    expires_at = of.token().expires_at if of.token is not None else None
    if expires_at is not None:
        labels = f'connection="{of.counters.connection}"'
        yield f"{_PREFIX}token_expiry_timestamp_seconds{{{labels}}} {expires_at:.3f}\n"


def _clock_skew(_: _Text, of: Watched) -> Iterator[str]:
    if of.token is not None:
        yield f'{_PREFIX}as_clock_skew_seconds{{connection="{of.counters.connection}"}} {of.token().skew:.3f}\n'


def _certificates(_: _Text, of: Watched) -> Iterator[str]:
    for peer, end in of.certificates:
        yield f'{_PREFIX}{_CERTIFICATE}{{connection="{of.counters.connection}",peer="{peer}"}} {end:.3f}\n'


def _at_risk(_: _Text, of: Watched) -> Iterator[str]:
    if of.at_risk is not None:
        yield f'{_PREFIX}grant_at_risk{{connection="{of.counters.connection}"}} {int(of.at_risk())}\n'


def _token_state(_: _Text, of: Watched) -> Iterator[str]:
    if of.counters.connection == "-":
        return
    now = of.token().state if of.token is not None else "not_applicable"
    head = f'{_PREFIX}token_state{{connection="{of.counters.connection}",state="'
    for state in _STATES:
        yield f'{head}{state}"}} {1 if state == now else 0}\n'


class _Text:
    """The two text formats, which differ in how a family is announced (OpenMetrics 1.0; Prometheus text 0.0.4)."""

    def __init__(self, *, openmetrics: bool) -> None:
        self._openmetrics = openmetrics
        self._bounds: dict[tuple[float, ...], list[str]] = {}

    def head(self, name: str, kind: str, about: str) -> str:
        """Return the lines that announce a family; counters and infos lose or keep their suffix by format."""
        if not self._openmetrics:
            name += {"counter": "_total", "info": "_info"}.get(kind, "")
            kind = "gauge" if kind == "info" else kind
        return f"# HELP {_PREFIX}{name} {about}\n# TYPE {_PREFIX}{name} {kind}\n"

    def histogram(self, name: str, connection: str, histogram: Histogram) -> Iterator[str]:
        """Yield the cumulative buckets, the count and the sum."""
        labels = f'connection="{connection}",' if connection else ""
        head = f"{_PREFIX}{name}_bucket{{{labels}le="
        ends = self._bounds.get(histogram.bounds)
        if ends is None:
            ends = self._bounds[histogram.bounds] = [
                *(f'"{float(bound)}"}} ' for bound in histogram.bounds),
                '"+Inf"} ',
            ]
        cumulated = list(accumulate(histogram.counts))
        for end, count in zip(ends, cumulated, strict=True):
            yield f"{head}{end}{count}\n"
        tail = f"{{{labels[:-1]}}}" if labels else ""
        yield f"{_PREFIX}{name}_count{tail} {cumulated[-1]}\n{_PREFIX}{name}_sum{tail} {histogram.total}\n"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
