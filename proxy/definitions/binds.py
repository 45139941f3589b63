"""Addresses and unix sockets to listen on, and the fault of two listeners in one place."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from proxy.definitions import domains
from proxy.definitions.notation.kinds import Kind, scalar, without_placeholder
from proxy.definitions.settings import Bind, TcpBind, UnixBind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.definitions.notation.nodes import Node
    from proxy.definitions.notation.reading import Reading

UNIX_PATH_BYTES: Final = 107  # sun_path has 108 with its NUL
_TCP: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:/\s]*):(\d{1,9})", re.ASCII)


@dataclass(frozen=True)
class BindKind(Kind[Bind]):
    """`127.0.0.1:7480`, `[::1]:7480`, `localhost:7480`, and `unix:/path` unless `tcp_only`."""

    tcp_only: bool = False

    def read(self, node: Node, reading: Reading) -> Bind:
        expected = "an address such as 127.0.0.1:7480" + ("" if self.tcp_only else " or unix:/path")
        text = without_placeholder(scalar(node, reading, expected), reading)
        if text.startswith("unix:") and not self.tcp_only:
            return UnixBind(path=_unix_path(node, text.removeprefix("unix:"), reading))
        found = _TCP.fullmatch(text)
        if found is None:
            advice = f"; write 127.0.0.1:{text}" if text.isdecimal() else ""
            raise reading.refused(node, "invalid_bind", f"expected {expected}{advice}")
        host, port = found[1].strip("[]"), int(found[2])
        if port > 65535:
            raise reading.refused(node, "out_of_range", f"port {port} is not between 0 and 65535")
        if not host or host == "*":
            raise reading.refused(node, "invalid_bind", f"write 0.0.0.0:{port} to listen on every address")
        if host != "localhost":
            try:
                host = str(ipaddress.ip_address(host))
            except ValueError:
                raise reading.refused(
                    node, "invalid_bind", f"expected {expected}; names other than localhost are not looked up"
                ) from None
        return TcpBind(host=host, port=port)

    def schema(self) -> dict[str, Any]:
        tcp = r"(\[[0-9A-Fa-f:.]+\]|[0-9.]+|localhost):[0-9]{1,5}"
        return {"type": "string", "pattern": f"^{tcp}$" if self.tcp_only else f"^({tcp}|unix:/.+)$"}


def check_binds(binds: Iterable[tuple[Bind, Node]], reading: Reading) -> None:
    """Fault where two listeners want the same port or socket."""
    seen: list[tuple[Bind, Node]] = []
    for bind, node in binds:
        for other, where in seen:
            if _same(bind, other):
                place = where.place if where.place.line else "its default"
                reading.fault(node, "duplicate_bind", f"{bind_text(bind)} is taken already by {where.path} ({place})")
                break
        seen.append((bind, node))


def is_open(bind: Bind) -> bool:
    """Tell whether others than this machine can reach the bind."""
    return isinstance(bind, TcpBind) and not domains.is_loopback(bind.host)


def bind_text(bind: Bind) -> str:
    """Return the bind as the operator writes it."""
    if isinstance(bind, UnixBind):
        return f"unix:{bind.path}"
    return f"[{bind.host}]:{bind.port}" if ":" in bind.host else f"{bind.host}:{bind.port}"


def _unix_path(node: Node, path: str, reading: Reading) -> str:
    if not path.startswith("/"):
        raise reading.refused(
            node, "invalid_bind", "the path of a unix socket begins with /, as in unix:/run/iclient-proxy.sock"
        )
    if len(path.encode()) > UNIX_PATH_BYTES:
        raise reading.refused(
            node,
            "out_of_range",
            f"the path of a unix socket has at most {UNIX_PATH_BYTES} bytes, this one has {len(path.encode())}",
        )
    return path


def _same(one: Bind, other: Bind) -> bool:
    if isinstance(one, UnixBind) or isinstance(other, UnixBind):
        return one == other
    if one.port != other.port or one.port == 0:
        return False
    hosts = {"127.0.0.1" if bind.host == "localhost" else bind.host for bind in (one, other)}
    if len(hosts) == 1:
        return True
    return "::" in hosts or ("0.0.0.0" in hosts and all("." in host for host in hosts))  # noqa: S104 a comparison, no bind  # nosec B104
