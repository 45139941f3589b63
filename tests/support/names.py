"""The product in a world with other names: `python -m tests.support.names '{"api.example.com": "127.0.0.1"}' run …`.

A name that begins with `*.` stands for all below it, an empty address for name servers that do not answer. Whatever
else is looked up does not exist, so that no test ever asks a name server. But for that it is `python -m proxy`.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_STALLS = 30.0  # seconds: what the C library takes for three servers, twice
_real = socket.getaddrinfo


def _address(host: str, names: Mapping[str, str]) -> str:
    if names.get(host):
        return names[host]
    below = [address for name, address in names.items() if name.startswith("*.") and host.endswith(name[1:])]
    if "" in (names.get(host), *below):
        threading.Event().wait(_STALLS)
        raise socket.gaierror(socket.EAI_AGAIN, "no name server answered")
    if not below and host != "localhost":
        raise socket.gaierror(socket.EAI_NONAME, "no such name in this test")
    return below[0] if below else host


def main(words: list[str]) -> int:
    """Give the names, then be the product."""
    names: dict[str, str] = json.loads(words[0])

    def lookup(host: str, port: Any, *rest: Any, **named: Any) -> Any:
        return _real(_address(host, names), port, *rest, **named)

    socket.getaddrinfo = lookup  # type: ignore[assignment]
    from proxy.cli.main import main as product

    return product(words[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
