"""Where streams go: what is denied to unclaimed requests, and the proxy that everything goes out through."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from proxy.definitions import domains
from proxy.definitions.notation.kinds import Kind, scalar, without_placeholder
from proxy.definitions.notation.nodes import Mapping, Node, Scalar, described
from proxy.definitions.notation.shapes import ListOf
from proxy.definitions.notation.values import FORMS, inline, referred
from proxy.definitions.settings import Deny, EgressProxy
from proxy.secret import Secret

if TYPE_CHECKING:
    from proxy.definitions.notation.reading import Reading

_PORT: Final = re.compile(r"\*:(\d{1,9})", re.ASCII)
_HOST_AND_PORT: Final = re.compile(r"(\[[^\]]*\]|[^\[\]:/]+):\d*")
_EXPECTED: Final = 'a network such as 10.0.0.0/8, a host, "*.example.com", or "*:25" for a port'
_PROXY: Final = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*)://)?(?:([^/?#]*)@)?([^@/?#]*)(.*)", re.DOTALL)
_NOT_A_PROXY: Final = "expected http://host:port or http://user:password@host:port"


@dataclass(frozen=True)
class Denied(Kind[Deny]):
    """One destination: a network or an address, a host, all hosts below one, or a port of all hosts."""

    def read(self, node: Node, reading: Reading) -> Deny:
        text = without_placeholder(scalar(node, reading, _EXPECTED), reading)
        if found := _PORT.fullmatch(text):
            port = int(found[1])
            if not 0 < port < 65536:
                raise reading.refused(node, "out_of_range", f"port {port} is not between 1 and 65535")
            return Deny(port=port)
        try:
            address = ipaddress.ip_address(text.removeprefix("[").removesuffix("]"))
        except ValueError:
            pass
        else:
            return Deny(network=ipaddress.ip_network(address))
        if "/" in text:
            return Deny(network=_network(node, text, reading))
        if _HOST_AND_PORT.fullmatch(text):
            advice = "a port is denied for all hosts, as in" if text.startswith("*") else "write the host alone, or"
            raise reading.refused(node, "invalid_host", f'expected {_EXPECTED}; {advice} "*:25"')
        below = text.startswith("*.")
        try:
            host = domains.canonical_host(text.removeprefix("*."))
        except domains.DomainError as error:
            raise reading.refused(node, error.code, f"{error.message}; expected {_EXPECTED}") from None
        return Deny(host=f"*.{host}" if below else host)

    def schema(self) -> dict[str, Any]:
        host, address = r"(\*\.)?[0-9A-Za-z_.-]+", r"[0-9A-Fa-f:.\[\]]+(/[0-9]{1,3})?"
        return {"type": "string", "pattern": rf"^(\*:[0-9]{{1,5}}|{host}|{address})$"}


@dataclass(frozen=True)
class Proxy(Kind[EgressProxy]):
    """`http://host:port`; with `user:password@` it is a secret, referred to or allowed to stand in the file."""

    def read(self, node: Node, reading: Reading) -> EgressProxy:
        if isinstance(node, Mapping):
            text = referred(node, reading)
        elif isinstance(node, Scalar):
            text = inline(node, reading) if "@" in node.text else without_placeholder(node, reading)
        else:
            raise reading.refused(
                node, "wrong_type", f"expected http://host:port or {{env: NAME}}, found {described(node)}"
            )
        shape = _PROXY.fullmatch(text)
        if shape is None or shape[4] not in ("", "/"):
            raise reading.refused(node, "invalid_url", f"{_NOT_A_PROXY}, without a path")
        if (shape[1] or "").lower() != "http":
            # A scheme that is not there may be the beginning of a secret: no message quotes it.
            raise reading.refused(node, "invalid_url", f"{_NOT_A_PROXY}: the proxy itself is spoken to in plain HTTP")
        try:
            url = domains.parse_url(f"http://{shape[3]}")
        except domains.DomainError as error:
            raise reading.refused(node, error.code, f"{error.message}; {_NOT_A_PROXY}") from None
        if domains.is_metadata(url.host):
            raise reading.refused(node, "metadata_address", "a metadata or link-local address is no proxy")
        return EgressProxy(host=url.host, port=url.port, credential=_credential(node, shape[2], reading))

    def schema(self) -> dict[str, Any]:
        references = [{"$ref": f"#/$defs/{form}"} for form in FORMS]
        return {"anyOf": [{"type": "string", "pattern": "^[Hh][Tt][Tt][Pp]://"}, *references]}


DENY: Final = ListOf(Denied())
EGRESS_PROXY: Final = Proxy()


def _network(node: Node, text: str, reading: Reading) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise reading.refused(node, "invalid_network", f"expected {_EXPECTED}") from None
    raise reading.refused(node, "invalid_network", f"the address has bits beyond its prefix; write {meant}")


def _credential(node: Node, written: str | None, reading: Reading) -> Secret | None:
    """Return `user:password`, percent-decoded (RFC 3986 §3.2.1)."""
    if written is None:
        return None
    user, colon, password = written.partition(":")
    text = f"{unquote(user)}:{unquote(password)}"
    if not user or not colon or ":" in unquote(user) or not text.isprintable():
        raise reading.refused(  # RFC 7617 §2: no colon in the name, no control characters in either
            node, "invalid_url", f"{_NOT_A_PROXY}: what stands before the @ is not a user name and a password"
        )
    return Secret(text)
