"""What processes have counted adds up, and never goes back where one of them ends."""

from __future__ import annotations

import json

from proxy.definitions.settings import Limits
from proxy.exchange.record import ConnectionCounters, ProcessCounters
from proxy.observe.collectors import Gathered, Watched
from proxy.runtime.shares import share_of
from proxy.runtime.workers.child import pause_after
from proxy.runtime.workers.counts import Machine, Tally, messages
from proxy.runtime.workers.totals import Totals


def counted(requests: int, *, names: int = 1) -> Tally:
    """Return what a worker hands over that has answered so many requests of each connection."""
    process = ProcessCounters(in_flight=2, tunnels_open=1, memory_pressure=1, slow_clients_closed=1, loop_stalls=1)
    process.local_replies["no_route"] = requests
    process.overhead.observe(0.001)
    connections = []
    for number in range(names):
        counters = ConnectionCounters(f"c{number}", requests={200: requests})
        counters.duration.observe(0.02)
        counters.auth_errors["status-401"] = 1
        counters.replays["accepted"] += 1
        connections.append(counters)
    tally = Tally()
    for message in messages(process, [*connections, ConnectionCounters("idle")], Machine(1, 2.0, 3, 4)):
        tally.take(json.loads(json.dumps(message)))
    return tally


def own(*names: str) -> Gathered:
    watched = [Watched(ConnectionCounters(name, requests={200: 1}), rules=("r",)) for name in names]
    return Gathered(ProcessCounters(in_flight=1, store_errors={"save": 1}), watched, 1, ())


def test_what_all_have_counted_is_the_sum():
    found = Totals().sum(own("c0"), [counted(3), counted(4)], ())

    [crm] = found.watched
    assert crm.counters.requests == {200: 8}
    assert sum(crm.counters.duration.counts) == 2
    assert crm.counters.auth_errors == {"status-401": 2}
    assert crm.counters.replays["accepted"] == 2
    assert crm.rules == ("r",)
    assert (found.process.in_flight, found.process.tunnels_open, found.process.memory_pressure) == (5, 2, 1)
    assert found.process.local_replies == {"no_route": 7}
    assert found.process.store_errors == {"save": 1}
    assert sum(found.process.overhead.counts) == 2
    assert found.lines_dropped == 9


def test_what_a_worker_that_ended_had_counted_stays_and_what_it_had_open_does_not():
    totals = Totals()
    totals.keep(counted(5))

    for alive, requests in (([], 6), ([counted(1)], 7)):
        found = totals.sum(own("c0"), alive, ())
        assert found.watched[0].counters.requests == {200: requests}
        assert found.process.in_flight == 1 + 2 * len(alive)
        assert found.process.slow_clients_closed == 1 + len(alive)
        assert found.lines_dropped == 5 + 4 * len(alive)


def test_a_connection_that_a_reload_took_away_is_forgotten():
    totals = Totals()
    totals.keep(counted(5, names=2))
    totals.retain({"c1"})

    found = totals.sum(own("c0", "c1"), [], ())

    assert [each.counters.requests for each in found.watched] == [{200: 1}, {200: 6}]


def test_many_connections_are_handed_over_in_pieces():
    assert len(counted(1, names=120).connections) == 120
    many = [ConnectionCounters(str(n), requests={200: 1}) for n in range(120)]
    sizes = [len(message.get("connections", ())) for message in messages(ProcessCounters(), many, Machine())]
    assert sizes == [0, 50, 50, 20]


def test_limits_are_shared_out_so_that_all_together_have_no_more():
    limits = Limits(connections=100, upstream_streams=10, tunnels=1, replay_memory=1000)

    share = share_of(limits, 3, None)

    assert (share.connections, share.upstream_streams, share.tunnels, share.replay_memory) == (34, 4, 1, 333)
    assert share_of(Limits(), 2, 64 << 20).replay_memory == 4 << 20
    assert share_of(Limits(), 2, None).connections == "auto"


def test_a_worker_that_ends_again_and_again_is_begun_less_and_less_often():
    assert [pause_after(ends) for ends in (1, 2, 3, 9, 10, 1000)] == [0.1, 0.2, 0.4, 25.6, 30.0, 30.0]
