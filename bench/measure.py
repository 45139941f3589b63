"""Taking samples: one peer after the other within each round, so that whatever else the machine does hits all alike."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench import load, profile, streams
from bench.figures import Sample, mismatch
from bench.load import Entry
from bench.machine import busy_seconds
from bench.peers import KINDS, Kind, Place, Started
from bench.rows import CLOSED, FORWARD, MEMORY, ON, OPEN, SESSIONS, SOME, START, Closed, Open
from bench.upstream import SIZES, TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Self

    from bench.load import Loaded
    from bench.rows import Bar
    from bench.upstream import Upstream

DIRECT = "direct"
_WARM_UP = 1.0  # seconds of load that are not counted, at the beginning of a row
_SAMPLING = 0.05  # seconds between looks at resident memory under load


@dataclass(frozen=True, slots=True)
class Memory:
    """Start and memory of one fresh process; bytes and seconds. `idle` and `stalled` are per stream."""

    ready_after: float
    at_rest: float
    under_load: float
    idle: float
    stalled: float


@dataclass(frozen=True, slots=True)
class Sessions:
    """What streams through CONNECT cost a fresh process: seconds of CPU per new TLS session, bytes per idle tunnel."""

    session: float
    tunnel: float


@dataclass(slots=True)
class Results:
    """All samples: by row, then by round, then by peer; what did not agree; what could not be measured."""

    loads: dict[str, list[dict[str, Sample]]] = field(default_factory=dict)
    memory: list[dict[str, Memory]] = field(default_factory=list)
    sessions: list[dict[str, Sessions]] = field(default_factory=list)
    starts: list[dict[str, float]] = field(default_factory=list)  # seconds from exec to the first answer
    mismatches: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    # Of rows that fall short: microseconds per answer by where they go, by peer, by row.
    profiles: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)


class Bench:
    """One run over some rows and peers."""

    def __init__(
        self,
        upstream: Upstream,
        place: Place,
        peers: list[Kind],
        rounds: int,
        seconds: float,
        idle: int,
        say: Callable[[str], None],
    ) -> None:
        self._upstream = upstream
        self._place = place
        self._peers = peers
        self._rounds = rounds
        self._seconds = seconds
        self._idle = idle
        self._say = say
        self.results = Results()

    def run(self, names: list[str]) -> Results:
        """Measure the rows in `names`."""
        for row in CLOSED:
            if row.name in names:
                self._row(row, [kind for kind in self._peers if _takes_part(kind, row)])
        for paced in OPEN:
            if paced.name in names:
                self._row(paced, [kind for kind in self._peers if _is_paced(kind, paced)])
        if MEMORY in names:
            self._memory([kind for kind in self._peers if not kind.special])
        if START in names:
            self._starts([kind for kind in self._peers if kind.name == SOME])
        if SESSIONS in names:
            self._sessions([kind for kind in self._peers if kind.name == FORWARD])
        return self.results

    def profile(self, bars: Iterable[Bar]) -> None:
        """Look where the time goes in the rows of these bars, ours and that of whom they are compared with."""
        wanted: dict[str, set[str]] = {}
        for bar in bars:
            wanted.setdefault(bar.row, set()).update((bar.subject, bar.against))
        for row in CLOSED:
            for kind, peer in self._start([kind for kind in self._peers if kind.name in wanted.get(row.name, ())]):
                try:
                    self.results.profiles.setdefault(row.name, {})[kind.name] = self._profile(row, peer)
                finally:
                    peer.stop()
                self._say(f"{row.name}  looked where the time of {kind.name} goes")

    def _profile(self, row: Closed, peer: Started) -> dict[str, float]:
        entry = _entry(row, peer)
        _apply(row, entry, min(_WARM_UP, self._seconds), self._place.cores.load)
        samples: list[Sample] = []
        parts = profile.shares(
            peer.process.pid,
            self._place.folder / "perf.data",
            lambda: samples.append(self._sample(row, entry, peer)),
        )
        return {place: part * samples[0].cpu for place, part in parts.items()}

    def _row(self, row: Closed | Open, kinds: list[Kind]) -> None:
        with ExitStack() as running:
            started: dict[str, tuple[Entry, Started | None]] = {}
            if isinstance(row, Open) and not row.tls:
                started[DIRECT] = (Entry(self._upstream.ports.plain, credential=f"Bearer {TOKEN}"), None)
            for kind, fresh in self._start(kinds):
                running.callback(fresh.stop)
                started[kind.name] = (_entry(row, fresh), fresh)
            rounds = self.results.loads[row.name] = []
            for number in range(-1, self._rounds):  # the first one warms up
                samples: dict[str, Sample] = {}
                for name, (entry, peer) in started.items():
                    if number < 0:
                        _apply(row, entry, min(_WARM_UP, self._seconds), self._place.cores.load)
                        continue
                    sample = samples[name] = self._sample(row, entry, peer)
                    fault = mismatch(sample)
                    if fault is not None and not _is_overrun(row, name, sample):
                        self.results.mismatches.append(f"{row.name}, {name}, round {number + 1}: {fault}")
                if samples:
                    rounds.append(samples)
                    costs = "  ".join(f"{name} {sample.cpu:.0f}" for name, sample in samples.items())
                    self._say(f"{row.name} {number + 1}/{self._rounds}  µs per answer: {costs}")

    def _start(self, kinds: list[Kind]) -> Iterator[tuple[Kind, Started]]:
        for kind in kinds:
            if kind.name in self.results.left_out:
                continue
            try:
                peer = Started(kind, self._place)
            except RuntimeError as error:
                self.results.left_out[kind.name] = str(error)
                self._say(f"{kind.name}: {error}")
                continue
            try:
                peer.check()
            except (OSError, ValueError) as error:
                peer.stop()
                self.results.mismatches.append(f"{kind.name}: {error}")
                self.results.left_out[kind.name] = str(error)
                continue
            yield kind, peer

    def _sample(self, row: Closed | Open, entry: Entry, peer: Started | None) -> Sample:
        core = self._place.cores.proxy
        seen = self._upstream.counted()
        busy = busy_seconds(core)
        spent = peer.process.cpu_seconds() if peer is not None else 0.0
        seconds = max(self._seconds, row.seconds) if isinstance(row, Open) else self._seconds
        found = _apply(row, entry, seconds, self._place.cores.load)
        used = peer.process.cpu_seconds() - spent if peer is not None else 0.0
        foreign = max(0.0, busy_seconds(core) - busy - used) / found.seconds
        size = SIZES[row.size]
        return Sample(
            amount=found.body_bytes / size if size > 65536 else float(found.completed),
            seconds=found.seconds,
            cpu_seconds=used,
            p50=found.p50,
            p99=found.p99,
            sent=found.sent,
            completed=found.completed,
            counted=self._upstream.counted() - seen,
            failed=found.failed,
            broken=found.broken,
            foreign=foreign,
        )

    def _memory(self, kinds: list[Kind]) -> None:
        for number in range(self._rounds):
            found: dict[str, Memory] = {}
            for kind, peer in self._start(kinds):
                try:
                    found[kind.name] = self._memory_of(kind, peer)
                except (OSError, RuntimeError, ValueError) as error:
                    self.results.mismatches.append(f"{MEMORY}, {kind.name}, round {number + 1}: {error}")
            self.results.memory.append(found)
            sizes = "  ".join(
                f"{name} {each.idle / 1024:.1f}/{each.stalled / 1024:.0f}" for name, each in found.items()
            )
            self._say(f"{MEMORY} {number + 1}/{self._rounds}  KiB per idle/stalled stream: {sizes}")

    def _memory_of(self, kind: Kind, peer: Started) -> Memory:
        """Look at one process after its start and under load, at a second one and a third one for their streams."""
        small = next(row for row in CLOSED if row.name == "small-64")
        try:
            at_rest = peer.process.resident_bytes()
            with _Highest(peer) as highest:
                load.closed(peer.plain, small, self._seconds, self._place.cores.load)
        finally:
            peer.stop()
        count = min(kind.idle, self._idle)
        per_idle = self._fresh(kind, lambda fresh: streams.idle(fresh, count))
        return Memory(peer.ready_after, at_rest, highest.seen, per_idle, self._fresh(kind, streams.stalled))

    def _starts(self, kinds: list[Kind]) -> None:
        for number in range(self._rounds):
            found: dict[str, float] = {}
            for kind, peer in self._start(kinds):
                found[kind.name] = peer.ready_after
                peer.stop()
            self.results.starts.append(found)
            times = "  ".join(f"{name} {seconds * 1e3:.0f}" for name, seconds in found.items())
            self._say(f"{START} {number + 1}/{self._rounds}  ms from exec to the first answer: {times}")

    def _sessions(self, kinds: list[Kind]) -> None:
        for number in range(self._rounds):
            found: dict[str, Sessions] = {}
            for kind, peer in self._start(kinds):
                try:
                    found[kind.name] = Sessions(streams.sessions(peer), streams.tunnels(peer))
                except (OSError, ValueError) as error:
                    self.results.mismatches.append(f"{SESSIONS}, {kind.name}, round {number + 1}: {error}")
                finally:
                    peer.stop()
            self.results.sessions.append(found)
            costs = "  ".join(f"{each.session * 1e3:.2f}/{each.tunnel / 1024:.1f}" for each in found.values())
            self._say(f"{SESSIONS} {number + 1}/{self._rounds}  ms per session/KiB per idle tunnel: {costs}")

    def _fresh(self, kind: Kind, look: Callable[[Started], float]) -> float:
        peer = Started(kind, self._place)
        try:
            return look(peer)
        finally:
            peer.stop()


class _Highest:
    """Watches the resident memory of a peer; `seen` is the highest."""

    def __init__(self, peer: Started) -> None:
        self.seen = 0
        self._peer = peer
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="resident memory")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stopped.wait(_SAMPLING):
            self.seen = max(self.seen, self._peer.process.resident_bytes())


def default_peers() -> list[str]:
    """Return the names of all peers."""
    return [kind.name for kind in KINDS]


def _apply(row: Closed | Open, entry: Entry, seconds: float, core: int) -> Loaded:
    if isinstance(row, Open):
        return load.opened(entry, row, seconds, core)
    return load.pulled(entry, row, seconds, core) if row.tunnel else load.closed(entry, row, seconds, core)


def _entry(row: Closed | Open, peer: Started) -> Entry:
    if isinstance(row, Closed) and row.tunnel:
        return peer.tunnel
    return peer.secured if row.tls else peer.plain


def _takes_part(kind: Kind, row: Closed) -> bool:
    if row.only:
        return kind.name in row.only
    # The log costs the same per request at any number of connections: one number is enough.
    return not kind.special and (kind.name != ON or row.connections == 64)


def _is_paced(kind: Kind, row: Open) -> bool:
    return kind.name in row.only if row.only else not kind.special


def _is_overrun(row: Closed | Open, name: str, sample: Sample) -> bool:
    """Whether a peer just can't keep up with an open loop: a figure, not a fault of the bench."""
    return (
        isinstance(row, Open) and not name.startswith("proxy") and sample.completed < sample.sent and not sample.failed
    )
