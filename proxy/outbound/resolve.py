"""Names into addresses, on threads of our own: a name that nobody answers for holds up only those who ask for it.

`loop.getaddrinfo` shares one small pool between all names (and everything else that blocks): a few stalled lookups
would stop every stream of the process. Here a lookup that stalls soon gives its place to another name, and a name that
stalled last time has to do with a few places of its own: forty dead names, asked for again and again, cost the living
ones nothing. A name that was answered for last time has places of its own as well, so that a crowd of names that nobody
has asked for before, dead ones perhaps, does not stand before it in line.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from proxy.errors import Refusal
from proxy.patience import Patience
from proxy.problem import PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# A name with thousands of addresses is a mistake or an attack; the first few are tried in any case.
ADDRESSES: Final = 16
# resolv.conf's habit is 5 s for each server; who waits longer than one of them has a dead server in it.
PATIENCE: Final = 5.0
# So many lookups at once of names that are not known to stall.
THREADS: Final = 32
# What takes longer than this has stalled; an answer from the other side of the world takes a quarter of it.
STALLED: Final = 1.0
# A stalled lookup holds its thread until the C library gives up, 10 s and more. So many of them there may be: half of
# that for names that stalled before.
STALLS: Final = 128
# Names that are known to stall, or to be answered for; who has more of them has another problem.
REMEMBERED: Final = 4096

AddressInfo = tuple[int, int, int, str, tuple[object, ...]]
_Answer = tuple[str, ...]
_Key = tuple[str, int]


class ResolveError(Refusal):
    """A name has no addresses (`dns_error`), or none came in time (`dns_timeout`)."""

    @property
    def code(self) -> str:
        """`dns_error` or `dns_timeout`."""
        return self.problem.code


class Resolver:
    """Looks names up, each of them once at a time, at most 32 at once. Belongs to one event loop.

    `lookup` is `socket.getaddrinfo` or something like it; it runs on daemon threads, so that a stalled one does not
    keep the process from ending. `patience` and `stalled` (when a lookup gives up its place) are in seconds.
    """

    def __init__(
        self,
        *,
        patience: float = PATIENCE,
        threads: int = THREADS,
        stalled: float = STALLED,
        lookup: Callable[..., Sequence[AddressInfo]] = socket.getaddrinfo,
    ) -> None:
        self._patience = patience
        self._free = self._good_free = threads
        self._stalled_after = stalled
        self._lookup = lookup
        self._under_way: dict[_Key, asyncio.Future[_Answer | None]] = {}
        self._queue: dict[_Key, None] = {}
        # Names that were answered for last time, those of them that wait for a place, and those that have one.
        self._good: dict[_Key, None] = {}
        self._good_queue: dict[_Key, None] = {}
        self._good_places: set[_Key] = set()
        # Names that stalled last time, and those of them that wait for a place.
        self._slow: dict[_Key, None] = {}
        self._slow_queue: dict[_Key, None] = {}
        self._wanted: dict[_Key, int] = {}  # by how many
        # When each lookup began; a timer for each that has not stalled yet; how many have, or are expected to.
        self._began: dict[_Key, float] = {}
        self._timers: dict[_Key, asyncio.TimerHandle] = {}
        self._stalls = 0

    async def resolve(self, host: str, port: int) -> tuple[str, ...]:
        """Return the addresses of `host` as IP literals, at least one, at most 16; raise `ResolveError`.

        An IP literal is its own address and needs no lookup.
        """
        literal = _literal(host)
        if literal is not None:
            return (literal,)
        key = (host, port)
        if key not in self._under_way:
            self._under_way[key] = asyncio.get_running_loop().create_future()
            queue = self._slow_queue if key in self._slow else self._good_queue if key in self._good else self._queue
            queue[key] = None
            self._start()
        self._wanted[key] = self._wanted.get(key, 0) + 1
        try:
            # Shielded: who gives up leaves the lookup to the others, and it ends when the C library ends it.
            async with Patience(self._patience):
                addresses = await asyncio.shield(self._under_way[key])
        except TimeoutError as error:
            raise ResolveError(PROBLEMS["dns_timeout"], "the name was not resolved in time") from error
        finally:
            self._given_up(key)
        if not addresses:
            raise ResolveError(PROBLEMS["dns_error"], "the name can't be resolved")
        return addresses

    def _given_up(self, key: _Key) -> None:
        """One waits no longer: a name that nobody waits for keeps none of those behind it waiting."""
        self._wanted[key] -= 1
        if self._wanted[key]:
            return
        del self._wanted[key]
        for queue in (self._queue, self._good_queue, self._slow_queue):
            if key in queue:
                del queue[key], self._under_way[key]

    def _start(self) -> None:
        loop = asyncio.get_running_loop()
        while self._good_free and self._good_queue and self._stalls < 2 * STALLS:
            self._good_free -= 1
            key = _first(self._good_queue)
            self._good_places.add(key)
            self._look_timed(loop, key)
        while self._free and self._queue and self._stalls < STALLS:
            self._free -= 1
            self._look_timed(loop, _first(self._queue))
        while self._slow_queue and self._stalls < STALLS // 2:
            self._stalls += 1
            self._look(loop, _first(self._slow_queue))

    def _look_timed(self, loop: asyncio.AbstractEventLoop, key: _Key) -> None:
        self._timers[key] = loop.call_later(self._stalled_after, self._stalled, key)
        self._look(loop, key)

    def _look(self, loop: asyncio.AbstractEventLoop, key: _Key) -> None:
        self._began[key] = loop.time()
        threading.Thread(target=self._run, args=(loop, key), name="resolve", daemon=True).start()

    def _stalled(self, key: _Key) -> None:
        """Let others have the place of a lookup that takes too long."""
        del self._timers[key]
        self._leave(key)
        self._stalls += 1
        self._good.pop(key, None)
        _remember(self._slow, key)
        self._start()

    def _leave(self, key: _Key) -> None:
        """Free the place of a lookup."""
        if key in self._good_places:
            self._good_places.discard(key)
            self._good_free += 1
        else:
            self._free += 1

    def _run(self, loop: asyncio.AbstractEventLoop, key: _Key) -> None:
        """Look one name up; runs on a thread."""
        host, port = key
        try:
            found = self._lookup(host, port, type=socket.SOCK_STREAM)
            addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))[:ADDRESSES]
        except (OSError, UnicodeError):  # UnicodeError: a label that can't be encoded
            addresses = ()
        with suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits any more
            loop.call_soon_threadsafe(self._ended, key, addresses)

    def _ended(self, key: _Key, addresses: _Answer) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
            self._leave(key)
        else:
            self._stalls -= 1
        if asyncio.get_running_loop().time() - self._began.pop(key) < self._stalled_after:
            self._slow.pop(key, None)
            if addresses:
                _remember(self._good, key)
        future = self._under_way.pop(key)
        if not future.done():
            future.set_result(addresses)
        self._start()


def _remember(names: dict[_Key, None], key: _Key) -> None:
    """Add a name as the newest; the oldest one is forgotten where there are too many."""
    names.pop(key, None)
    names[key] = None
    if len(names) > REMEMBERED:
        del names[next(iter(names))]


def _first(queue: dict[_Key, None]) -> _Key:
    key = next(iter(queue))
    del queue[key]
    return key


def _literal(host: str) -> str | None:
    try:
        return str(ipaddress.ip_address(host.removeprefix("[").removesuffix("]")))
    except ValueError:
        return None
