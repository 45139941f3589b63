"""The sum of what all processes have counted, those included that have ended."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from proxy.exchange.record import ConnectionCounters, ProcessCounters
from proxy.observe.collectors import Gathered
from proxy.runtime.workers.counts import add_connection, add_process, process_row, row

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from proxy.observe.collectors import WorkerView
    from proxy.runtime.workers.counts import Tally


class Totals:
    """Remembers what workers that have ended had handed over last."""

    def __init__(self) -> None:
        self._process = ProcessCounters()
        self._connections: dict[str, ConnectionCounters] = {}
        self._lines_dropped = 0

    def keep(self, tally: Tally) -> None:
        """A worker has ended: what it counted stays counted."""
        add_process(self._process, tally.process, alive=False)
        for name, counted in tally.connections.items():
            add_connection(self._connections.setdefault(name, ConnectionCounters(name)), counted)
        self._lines_dropped += tally.machine.lines_dropped

    def retain(self, names: Container[str]) -> None:
        """Forget connections that are no more; what belongs to none stays."""
        self._connections = {name: each for name, each in self._connections.items() if name in names or name == "-"}

    def sum(self, own: Gathered, alive: Sequence[Tally], workers: Sequence[WorkerView]) -> Gathered:
        """Return what this process has counted, with that of the workers."""
        process = ProcessCounters(store_errors=own.process.store_errors)
        add_process(process, process_row(own.process), alive=True)
        add_process(process, process_row(self._process), alive=False)
        for tally in alive:
            add_process(process, tally.process, alive=True)
        watched = []
        for each in own.watched:
            name = each.counters.connection
            total = ConnectionCounters(name)
            add_connection(total, row(each.counters))
            if name in self._connections:
                add_connection(total, row(self._connections[name]))
            for tally in alive:
                if name in tally.connections:
                    add_connection(total, tally.connections[name])
            watched.append(replace(each, counters=total))
        dropped = own.lines_dropped + self._lines_dropped + sum(tally.machine.lines_dropped for tally in alive)
        return Gathered(process, watched, dropped, workers)
