"""Listeners of a proxy with workers: the main process holds the sockets, workers accept from the same ones."""

from __future__ import annotations

import select
import socket
from typing import TYPE_CHECKING, cast

from proxy.inbound.bind import bind_socket, bound_at, printable_address
from proxy.inbound.connection import Downstream
from proxy.inbound.listener import BACKLOG, Listener
from proxy.runtime.doors import doors
from proxy.runtime.workers.accepting import Acceptor
from proxy.wire.reader import as_protocol

if TYPE_CHECKING:
    from proxy.runtime.parts import Assembly
    from proxy.runtime.workers.accepting import Place


class HeldListener(Listener):
    """A listener of the main process: its socket is open and accepts nothing here.

    What comes before a worker accepts, or while one begins anew, waits in the socket's queue, which belongs to all.
    """

    held: socket.socket | None = None

    async def start(self) -> str:
        """Bind and listen; returns the address. Raises `MachineError` as any listener."""
        sock = bind_socket(self._bind, f"{self.name} listener")
        sock.listen(BACKLOG)
        self.held = sock
        self.at = bound_at(sock)
        return printable_address(sock)

    @property
    def has_callers(self) -> bool:
        """Whether somebody waits in the queue."""
        if self.held is None:
            return False
        looking = select.poll()
        looking.register(self.held, select.POLLIN)
        return bool(looking.poll(0))

    def stop_accepting(self) -> None:
        """Close the socket here; it is closed when the workers have done so, too."""
        if self.held is not None:
            self.held.close()
            self.held = None
            self.at = None
            self._unbind()


class GivenListener(Listener):
    """A listener of a worker: accepts from the socket that the main process holds.

    Who makes it sets `given`, and `place` among the workers, before it starts.
    """

    given: socket.socket | None = None
    place: Place
    _acceptor: Acceptor | None = None

    async def start(self) -> str:
        """Accept; returns the address."""
        sock, self.given = self.given, None
        if sock is None:
            raise AssertionError("a worker opens no socket of its own")
        self.at = bound_at(sock)
        self._acceptor = Acceptor(self.surroundings.loop, sock, self.place, self._serve, f"{self.name} listener")
        self._acceptor.start()
        return printable_address(sock)

    def stop_accepting(self) -> None:
        """Close the socket here; open streams go on."""
        if self.given is not None:  # a reload that comes to nothing
            self.given.close()
            self.given = None
        if self._acceptor is not None:
            self._acceptor.close()
            self._acceptor = None
            self.at = None

    def opened(self, stream: Downstream) -> None:
        """A stream is open."""
        super().opened(stream)
        self.place.open(self._count.open)

    def closed(self, stream: Downstream) -> None:
        """A stream is gone."""
        super().closed(stream)
        self.place.open(self._count.open)

    async def _serve(self, accepted: socket.socket) -> None:
        await self.surroundings.loop.connect_accepted_socket(
            lambda: as_protocol(Downstream(self)), accepted, ssl=self._context
        )


def sockets_of(assembly: Assembly) -> list[int]:
    """Return the sockets that the main process holds, in the order in which the definitions name their doors."""
    listeners = [cast("HeldListener", assembly.listeners[door.key]) for door in doors(assembly.definitions)]
    return [listener.held.fileno() for listener in listeners if listener.held is not None]


def socket_of(number: int) -> socket.socket:
    """Return the listening socket that came as file descriptor `number`."""
    sock = socket.socket(fileno=number)
    sock.setblocking(False)
    return sock
