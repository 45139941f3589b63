"""Leaves of the local authority: one certificate for each intercepted host, made when it is asked for, kept a while."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import ssl
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from proxy.ca.authority import BACKDATED, LEAF_USAGE, serial
from proxy.errors import Refusal
from proxy.problem import PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.ca.authority import Authority
    from proxy.clock import Clock

KEPT: Final = 1000  # a context takes 26 KiB
MINTS: Final = 50.0  # a second: at 1.4 ms each a fourteenth of a core, whatever names are asked for
LIFETIME: Final = dt.timedelta(hours=47)  # with what is backdated two days: a leaf that leaks is soon worth nothing
# The host is in the alternative names alone: as a common name it would be another name for constraints to look at.
_SUBJECT: Final = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "iclient-proxy")])


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A context and when it serves (seconds of the wall clock): until half of the leaf's life is over."""

    context: ssl.SSLContext
    begins: float
    until: float


class Leaves:
    """Makes and keeps the TLS contexts by which intercepted hosts are spoken for; all share one key of this process."""

    def __init__(self, authority: Authority, clock: Clock, entropy: Callable[[int], bytes]) -> None:
        self.authority = authority
        self._clock = clock
        self._entropy = entropy
        self._kept: OrderedDict[str, _Leaf] = OrderedDict()
        self._key = ec.generate_private_key(ec.SECP256R1())
        # What every leaf's file has beside the leaf itself.
        self._rest = (
            b"".join(_pem(each) for each in authority.signer.chain if each.issuer != each.subject)
            + self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )  # fmt: skip
        self._issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.signer.key.public_key())
        self._own = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        self._allowed = MINTS
        self._counted = clock.monotonic()

    def covers(self, host: str) -> bool:
        """Tell whether the authority may sign for the host."""
        return self.authority.signer.covers(host)

    def context_for(self, host: str) -> ssl.SSLContext:
        """Return the server's context for a host that is covered; raises `Refusal` (`overloaded`).

        It wants TLS 1.2 or newer, offers http/1.1 alone, and answers a client that names another host with an alert.
        """
        now = self._clock.wall()
        kept = self._kept.get(host)
        if kept is not None and kept.begins <= now < kept.until:
            self._kept.move_to_end(host)
            return kept.context
        self._count()
        leaf = self._kept[host] = self._mint(host, now)
        self._kept.move_to_end(host)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return leaf.context

    def _count(self) -> None:
        now = self._clock.monotonic()
        self._allowed = min(MINTS, self._allowed + (now - self._counted) * MINTS)
        self._counted = now
        if self._allowed < 1:
            detail = f"more than {MINTS:.0f} certificates a second are asked for by interception"
            raise Refusal(PROBLEMS["overloaded"], detail, retry_after=1)
        self._allowed -= 1

    def _mint(self, host: str, wall: float) -> _Leaf:
        now = dt.datetime.fromtimestamp(wall, dt.UTC)
        ends = min(now + LIFETIME, self.authority.until)
        begins = min(now - BACKDATED, ends - BACKDATED)  # of an authority that has expired meanwhile
        signer = self.authority.signer
        issuer = signer.chain[0].subject
        certificate = (
            x509.CertificateBuilder(issuer, _SUBJECT, self._key.public_key(), serial(self._entropy), begins, ends)
            .add_extension(x509.SubjectAlternativeName([_name(host)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(LEAF_USAGE, critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(self._own, critical=False)
            .add_extension(self._issuer, critical=False)
            .sign(signer.key, hashes.SHA256())
        )
        return _Leaf(self._context(host, _pem(certificate)), begins.timestamp(), (wall + ends.timestamp()) / 2)

    def _context(self, host: str, leaf: bytes) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.num_tickets = 1  # a client comes back to one stream with one ticket
        context.set_alpn_protocols(["http/1.1"])
        context.sni_callback = _only(host)
        # The ssl module loads a chain from a file only; this one is in memory, so that the key is never on a disk.
        with os.fdopen(os.memfd_create("leaf", os.MFD_CLOEXEC), "wb") as file:
            file.write(leaf + self._rest)
            file.flush()
            context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
        return context


def _only(host: str) -> Callable[[ssl.SSLObject, str | None, ssl.SSLContext], int | None]:
    """Return what says no to a client that asks for another host inside its tunnel than outside (RFC 6066 §3)."""

    def check(_: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> int | None:
        if name is None or name.lower().removesuffix(".") == host:
            return None
        return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

    return check


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)
