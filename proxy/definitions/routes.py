"""Where a connection is reached on the reverse listener, and the fault of two connections in one place."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from proxy.definitions.binds import BindKind, bind_text, is_open
from proxy.definitions.listeners import HOST
from proxy.definitions.models import Route
from proxy.definitions.notation.kinds import Flag, Text
from proxy.definitions.notation.shapes import Block, Key, OrFalse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.definitions.notation.nodes import Node
    from proxy.definitions.notation.reading import Reading
    from proxy.definitions.notation.shapes import Fields
    from proxy.definitions.settings import TcpBind

# RFC 3986 §3.3: what may stand in a path.
_PATH: Final = re.compile(r"/[A-Za-z0-9/._~!$&'()*+,;=:@%-]*")


def path_fault(text: str) -> tuple[str, str] | None:
    """Return what is wrong with a path that requests are compared with."""
    if not _PATH.fullmatch(text):
        return "invalid_path", "a path begins with / and has no query, fragment or space"
    if any(segment.lower().replace("%2e", ".") in {".", ".."} for segment in text.split("/")):
        return "invalid_path", "a path has no dot segments"
    return None


def _prefix(text: str) -> tuple[str, str] | None:
    return path_fault(text) or (("invalid_path", "a prefix has no empty segments") if "//" in text else None)


ROUTE: Final = OrFalse(
    Block(
        {
            "prefix": Key(Text("a path", _prefix), "Path under which applications call; /NAME by default."),
            "strip": Key(Flag(), "Take the prefix away before the request is sent.", default=True),
            "host": Key(HOST, "Virtual host; ports are not compared.", nullable=True),
            "bind": Key(BindKind(tcp_only=True), "An address and port of its own.", nullable=True),
        },
    )
)


def route(name: str, fields: Fields, reading: Reading) -> Route | None:
    """Return the route of a connection, None where it has none."""
    written: Fields | None = fields.values.get("route") if "route" in fields else None
    if "route" in fields and written is None:
        return None
    values = dict(written.values) if written is not None else {}
    values["prefix"] = values.get("prefix", f"/{name}").rstrip("/") or "/"
    if values.get("host") is not None:
        values["host"] = values["host"].lower().removesuffix(".")
    found = Route(**values)
    if written is not None and found.bind is not None and is_open(found.bind):
        reading.fault(
            written.nodes["bind"],
            "listener_open",
            f"{bind_text(found.bind)} can be reached from other machines and has no auth; bind 127.0.0.1",
        )
    return found


def check_routes(routes: Iterable[tuple[Route, Node]], reading: Reading) -> None:
    """Fault where two connections have the same port, host and prefix."""
    seen: dict[tuple[TcpBind | None, str | None, str], Node] = {}
    for found, node in routes:
        key = (found.bind, found.host, found.prefix)
        if (first := seen.get(key)) is not None:
            where = (
                f"prefix {found.prefix}"
                + (f", host {found.host}" if found.host else "")
                + (f", bind {bind_text(found.bind)}" if found.bind else "")
            )
            reading.fault(
                node,
                "ambiguous_route",
                f"the route of {first.path} ({first.place}) has the same {where}; write another prefix or host",
            )
        seen.setdefault(key, node)
