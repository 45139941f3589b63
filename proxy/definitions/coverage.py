"""Which hosts a certificate authority may sign for, by its name constraints (RFC 5280 §4.2.1.10). Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography.x509 import Certificate

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Coverage:
    """What is permitted and what is excluded, by kind of name; a kind of which nothing is permitted is not bound.

    Domains are lower case; one that begins with a dot covers what is below it and not itself.
    """

    domains: tuple[str, ...] = ()
    networks: tuple[Network, ...] = ()
    not_domains: tuple[str, ...] = ()
    not_networks: tuple[Network, ...] = ()

    @property
    def is_bound(self) -> bool:
        """Whether there is any host that it does not cover: an authority without that can stand in for every site."""
        return bool(self.domains or self.not_domains)

    def covers(self, host: str) -> bool:
        """Tell whether a certificate for the host, canonical or a claim such as `*.example.com`, is within it."""
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            name = host.replace("*", "x", 1)  # some name below; the constraint is the same for all of them
            permitted = not self.domains or _within(name, self.domains)
            return permitted and not _within(name, self.not_domains)
        inside = any(address in network for network in self.networks)
        return (inside or not self.networks) and not any(address in network for network in self.not_networks)


def _within(name: str, domains: Iterable[str]) -> bool:
    return any(not one or name == one or name.endswith("." + one.removeprefix(".")) for one in domains)


def coverage_of(certificate: Certificate) -> Coverage:
    """Return what the name constraints of an authority leave; without the extension that is everything."""
    from cryptography import x509

    try:
        found = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return Coverage()

    def domains(names: Iterable[x509.GeneralName] | None) -> tuple[str, ...]:
        return tuple(each.value.lower() for each in names or () if isinstance(each, x509.DNSName))

    def networks(names: Iterable[x509.GeneralName] | None) -> tuple[Network, ...]:
        addresses = (each.value for each in names or () if isinstance(each, x509.IPAddress))
        return tuple(each for each in addresses if isinstance(each, Network))

    permitted, excluded = found.permitted_subtrees, found.excluded_subtrees
    return Coverage(domains(permitted), networks(permitted), domains(excluded), networks(excluded))
