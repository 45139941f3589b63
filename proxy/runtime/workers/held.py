"""Listeners of a proxy with workers: the main process holds the sockets, workers accept from the same ones."""

from __future__ import annotations

import select
import socket

from proxy.inbound.bind import bind_socket, bound_at, printable_address
from proxy.inbound.listener import BACKLOG, Listener


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
    """A listener of a worker: accepts from the socket that the main process holds."""

    given: socket.socket | None = None

    def _bound(self) -> socket.socket:
        sock, self.given = self.given, None
        if sock is None:
            raise AssertionError("a worker opens no socket of its own")
        return sock

    def _unbind(self) -> None:
        """The path of a unix socket is the main process's to remove."""


def socket_of(number: int) -> socket.socket:
    """Return the listening socket that came as file descriptor `number`."""
    sock = socket.socket(fileno=number)
    sock.setblocking(False)
    return sock
