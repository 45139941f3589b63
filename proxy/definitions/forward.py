"""The forward listener: where it is, whom it lets through, and the fault of two claims that no request tells apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from proxy.definitions.authority import INTERCEPT
from proxy.definitions.binds import BindKind, bind_text, is_open
from proxy.definitions.destinations import DENY
from proxy.definitions.notation.kinds import Choice
from proxy.definitions.notation.shapes import Block, Key
from proxy.definitions.notation.values import SecretValue, Value
from proxy.definitions.settings import BasicCredential, ForwardListener

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.definitions.models import Connection
    from proxy.definitions.notation.nodes import Node
    from proxy.definitions.notation.reading import Reading
    from proxy.definitions.notation.shapes import Fields

_PORTS: Final = {"https": 443, "http": 80}

FORWARD: Final = Block(
    {
        "bind": Key(BindKind(), "Address or unix socket.", default="127.0.0.1:3128"),
        "unclaimed": Key(
            Choice(("tunnel", "reject")),
            "What becomes of a request to a host that no connection claims.",
            default="tunnel",
        ),
        "claimed_connect": Key(
            Choice(("tunnel", "reject")),
            "What becomes of CONNECT to a claimed host that is not intercepted; a tunnel gets no token.",
            default="tunnel",
        ),
        "proxy_auth": Key(
            Block(
                {
                    "username": Key(Value(), "The user name.", required=True),
                    "password": Key(SecretValue(), "The password.", required=True),
                },
            ),
            "Credential that callers send as Proxy-Authorization; required beyond loopback.",
            nullable=True,
        ),
        "deny": Key(
            DENY,
            'Networks, hosts and ports ("*:25") that no unclaimed request goes to, beside metadata and our own.',
            default=[],
        ),
        "intercept": Key(INTERCEPT, "Interception of TLS to claimed hosts."),
    },
)


def forward(fields: Fields, reading: Reading) -> ForwardListener:
    """Return the forward listener as written; `intercept` stays None until its authority was looked at."""
    values: dict[str, Any] = {key: value for key, value in fields.values.items() if key != "intercept"}
    credential: Fields | None = values.pop("proxy_auth", None)
    if credential is not None and not credential.broken:
        if ":" in credential.values["username"]:
            reading.fault(
                credential.nodes["username"],
                "invalid_name",
                "a user name with a colon can't be sent: Basic puts one between it and the password",
            )
        values["proxy_auth"] = BasicCredential(**credential.values)
    listener = ForwardListener(**values)
    if is_open(listener.bind) and "proxy_auth" not in fields:
        reading.fault(
            fields.nodes.get("bind", fields.node),
            "listener_open",
            f"{bind_text(listener.bind)} can be reached from other machines: add proxy_auth, or bind 127.0.0.1",
        )
    return listener


def check_claims(
    listener: ForwardListener | None, connections: Iterable[tuple[Connection, Node]], reading: Reading
) -> None:
    """Fault where two connections claim the same host, port and path and no request can say which one it means.

    A user name in `Proxy-Authorization` can, unless it is that of `proxy_auth`. Without a forward listener nobody asks.
    """
    if listener is None or listener.proxy_auth is None:
        return
    seen: dict[tuple[str, int, str], tuple[str, Node]] = {}
    for connection, node in connections:
        for host in (each.removesuffix(".") for each in connection.hosts):
            port, path = _place(connection)
            first = seen.setdefault((host, port, path), (connection.name, node))
            if first[0] != connection.name:
                below = f" below {path}" if path else ""
                reading.fault(
                    node,
                    "ambiguous_host",
                    f"{first[0]} ({first[1].place}) claims {host}{below}, too, and with proxy_auth no user name tells "
                    "them apart; write other hosts, or hosts: [] on one of them",
                )


def _place(connection: Connection) -> tuple[int, str]:
    """Return the port and the path of `base_url`; of one that a token answer completes what is known."""
    base = connection.base_url
    if isinstance(base, str):
        url = urlsplit(base)
        return url.port or _PORTS[url.scheme], url.path.rstrip("/")
    return base.port or _PORTS[base.scheme or "https"], ""
