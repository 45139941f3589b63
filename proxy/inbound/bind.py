"""Binding: a socket for a listener, or a clear word about what is in the way."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final, assert_never

from proxy.definitions.settings import TcpBind, UnixBind
from proxy.errors import MachineError

if TYPE_CHECKING:
    from proxy.definitions.settings import Bind


# What to do where the machine's own words do not say it.
_REMEDIES: Final = {
    errno.EADDRINUSE: "another program listens there, perhaps this proxy, started before: end it, or write "
    "another bind for this listener",
    errno.EADDRNOTAVAIL: "no interface of this machine has that address; 127.0.0.1 is this machine alone, 0.0.0.0 "
    "every interface",
    errno.EACCES: "ports below 1024 and the folders of others need a right that this process does not have; write "
    "another bind for this listener",
}


def bind_socket(bind: Bind, listener: str) -> socket.socket:
    """Return a bound socket; raises `MachineError` that names the listener and what is in the way."""
    match bind:
        case TcpBind(host=host, port=port):
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind((host, port))
            except OSError as error:
                sock.close()
                raise MachineError(
                    "address_in_use", f"{listener}: can't listen on {host}:{port}: {error.strerror}{_remedy(error)}"
                ) from error
        case UnixBind(path=path):
            sock = _bind_unix(path, listener)
        case _:
            assert_never(bind)
    sock.setblocking(False)
    return sock


def _bind_unix(path: str, listener: str) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(Path(path).stat().st_mode):
            _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        sock.bind(path)
    except OSError as error:
        sock.close()
        raise MachineError(
            "address_in_use", f"{listener}: can't listen on unix:{path}: {error.strerror}{_remedy(error)}"
        ) from error
    finally:
        os.umask(mask)
    return sock


def _remedy(error: OSError) -> str:
    return f"; {_REMEDIES[error.errno]}" if error.errno in _REMEDIES else ""


def _remove_stale(path: str) -> None:
    """Remove a socket file that nobody listens on (left by a process that was killed)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
        except OSError:
            return


def bound_at(sock: socket.socket) -> tuple[str, int] | None:
    """Return the address and port of a bound socket, None of a unix socket."""
    name = sock.getsockname()
    return None if isinstance(name, str) else (name[0], name[1])


def printable_address(sock: socket.socket) -> str:
    """Return `127.0.0.1:7480`, `[::1]:7480` or `unix:/path`."""
    name = sock.getsockname()
    if isinstance(name, str):
        return f"unix:{name}"
    return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"
