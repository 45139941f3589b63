"""Where streams may go: names before they are looked up, and each address that is about to be dialled. Pure.

An address is judged together with every IPv4 address that it carries inside (RFC 4291 mapped and compatible, RFC 6052
NAT64, RFC 2765 translated, RFC 3056 6to4, RFC 4380 Teredo): a network that translates would lead there.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

from proxy.definitions.domains import DomainError, canonical_host, is_metadata
from proxy.errors import Refusal
from proxy.problem import PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proxy.definitions.settings import Deny

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# RFC 6052 §2.1, RFC 8215, RFC 2765 §2.1 and RFC 4291 §2.5.5.1: the last 32 bits are an IPv4 address.
_TRANSLATED: Final = tuple(
    map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96", "::/96")),
)
_NO_CARRIERS: Final = 0xFFFF  # `::`, `::1` and what is as low: no translator leads anywhere from there
_THIS_NETWORK: Final = ipaddress.IPv4Network("0.0.0.0/8")  # RFC 1122 §3.2.1.3; Linux takes 0.0.0.0 for itself
_BROADCAST: Final = ipaddress.IPv4Address("255.255.255.255")


def nowhere(_address: str) -> bool:
    """Say of every address that it is none of this machine's."""
    return False


class Destinations:
    """What may be dialled. `own` are addresses and ports that this process listens on.

    `is_local` says whether an address is one of this machine's; with a port of ours such an address leads back here.
    `api_server` is the address of the cluster that we run in: what needs it has to claim it. `claimed` hosts are those
    that a connection names: they may be anywhere but at a cloud's metadata service.
    """

    __slots__ = ("_api_server", "_deny", "_is_local", "_own", "_ports")

    def __init__(
        self,
        deny: tuple[Deny, ...] = (),
        own: frozenset[tuple[str, int]] = frozenset(),
        *,
        is_local: Callable[[str], bool] = nowhere,
        api_server: str | None = None,
    ) -> None:
        self._deny = deny
        self._own = own
        self._ports = frozenset(port for _, port in own)
        self._is_local = is_local
        self._api_server = _parsed(api_server) if api_server else None

    def named(self, host: str, port: int, *, claimed: bool) -> Refusal | None:
        """Judge a host as it was asked for, a name or an address, before any name is looked up.

        Spellings that a resolver takes for an address (`127.1`, `2130706433`) are 400: they are never looked up.
        """
        try:
            name = canonical_host(f"[{host}]" if ":" in host and not host.startswith("[") else host)
        except DomainError as error:
            if _parsed(host) is None:
                return Refusal(PROBLEMS["bad_request"], error.message)
            name = host  # an IPv6 address with an IPv4 one inside
        address = _parsed(name)
        if address is not None:
            return self.check(name, port, claimed=claimed)
        if is_metadata(name):
            return _prohibited("a cloud's metadata service")
        if not claimed and any(_denies_name(entry, name, port) for entry in self._deny):
            return _prohibited("a destination that listeners.forward.deny lists")
        return None

    def check(self, address: str, port: int, *, claimed: bool) -> Refusal | None:
        """Judge an address, an IP literal: what is returned says why it is not dialled, None that it may be."""
        parsed = _parsed(address)
        if parsed is None:
            return _prohibited("no address")
        for each in _faces(parsed):
            refusal = self._judged(each, port, claimed=claimed)
            if refusal is not None:
                return refusal
        return None

    def is_own(self, address: str, port: int) -> bool:
        """Whether this process listens there."""
        parsed = _parsed(address)
        return parsed is not None and any(self._leads_back(each, port) for each in _faces(parsed))

    def _judged(self, address: Address, port: int, *, claimed: bool) -> Refusal | None:
        if is_metadata(str(address)):
            return _prohibited("a metadata or link-local address")
        if claimed:
            return None
        if address.is_multicast or address == _BROADCAST or _is_unspecified(address):
            return _prohibited("a multicast, broadcast or unspecified address")
        if self._leads_back(address, port):
            return Refusal(PROBLEMS["proxy_loop_detected"], "the destination is a listener of this very proxy")
        if address == self._api_server:
            return _prohibited("the API server of this cluster; a connection may claim it")
        if any(_denies_address(entry, address, port) for entry in self._deny):
            return _prohibited("a destination that listeners.forward.deny lists")
        return None

    def _leads_back(self, address: Address, port: int) -> bool:
        if port not in self._ports:
            return False
        text = str(address)
        # Linux takes a stream to the unspecified address for one to itself, and all of 127.0.0.0/8 is this machine.
        if (text, port) in self._own or address.is_loopback or _is_unspecified(address):
            return True
        return self._is_local(text)


def _faces(address: Address) -> Iterator[Address]:
    """Yield the address, and the IPv4 addresses that it carries."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            address = ipaddress.IPv6Address(int(address))
        yield address
        if address.ipv4_mapped is not None:
            yield address.ipv4_mapped
        if address.sixtofour is not None:
            yield address.sixtofour
        if address.teredo is not None:
            yield from address.teredo
        if int(address) > _NO_CARRIERS and any(address in network for network in _TRANSLATED):
            yield ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    else:
        yield address


def _is_unspecified(address: Address) -> bool:
    return address.is_unspecified or (isinstance(address, ipaddress.IPv4Address) and address in _THIS_NETWORK)


def _denies_address(entry: Deny, address: Address, port: int) -> bool:
    if entry.port is not None:
        return entry.port == port
    return entry.network is not None and address in entry.network


def _denies_name(entry: Deny, name: str, port: int) -> bool:
    if entry.port is not None:
        return entry.port == port
    if entry.host is None:
        return False
    if entry.host.startswith("*."):
        return name.endswith(entry.host[1:])
    return name == entry.host


def _prohibited(what: str) -> Refusal:
    return Refusal(PROBLEMS["destination_prohibited"], f"the destination is {what}")


def _parsed(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None
