"""A certificate authority of this machine: made for a few domains, written with care, opened where it is used."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from proxy.definitions.authority import PURPOSE, KeyRefusedError, opened_key
from proxy.definitions.coverage import Coverage, coverage_of
from proxy.errors import MachineError
from proxy.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from proxy.clock import Clock
    from proxy.definitions.settings import AuthorityFiles

    # Takes a text and what it is for, and returns it sealed.
    Seal = Callable[[str, str], str]

LIFETIME: Final = dt.timedelta(days=3 * 365)  # seldom enough to be bearable, soon enough that a lost key ends
BACKDATED: Final = dt.timedelta(hours=1)  # clients whose clock is behind
# RFC 2606: nobody's domain. Without one name of a kind, everything of that kind would be permitted.
_NOBODYS: Final = "iclient-proxy.invalid"
_EVERYWHERE: Final = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
SERIAL_BYTES: Final = 16  # RFC 5280 §4.1.2.2: at most 20, and positive


@dataclass(frozen=True, slots=True)
class Authority:
    """What signs: its certificate, those above it (none where it is a root), its key, and what it may sign for."""

    certificate: x509.Certificate
    above: tuple[x509.Certificate, ...]
    key: ec.EllipticCurvePrivateKey | RSAPrivateKey
    coverage: Coverage

    @property
    def pem(self) -> str:
        """The public part, as clients are given it to trust."""
        return "".join(each.public_bytes(Encoding.PEM).decode("ascii") for each in (self.certificate, *self.above))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, as browsers and keytool show it."""
        return fingerprint(self.certificate)


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of a certificate in pairs of digits: `9A:F3:…`."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def make(hosts: Iterable[str], clock: Clock, entropy: Callable[[int], bytes]) -> tuple[str, Secret]:
    """Return certificate and private key (PEM) of an authority for these domains and addresses, and nothing else."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.fromtimestamp(clock.wall(), dt.UTC)
    # A name of its own: two authorities of one name on one machine are mistaken for each other.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"iclient-proxy local CA {entropy(4).hex()}")])
    public = key.public_key()
    certificate = (
        x509.CertificateBuilder(name, name, public, serial(entropy), now - BACKDATED, now + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_constraints(hosts), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")
    return certificate.public_bytes(Encoding.PEM).decode("ascii"), Secret(pem)


def serial(entropy: Callable[[int], bytes]) -> int:
    """Return a serial number that nobody can guess."""
    return int.from_bytes(b"\x01" + entropy(SERIAL_BYTES))


def _usage(*, sign_certificates: bool = False, sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


LEAF_USAGE: Final = _usage(sign=True)


def _constraints(hosts: Iterable[str]) -> x509.NameConstraints:
    names: list[x509.GeneralName] = []
    addresses: list[x509.GeneralName] = []
    for host in dict.fromkeys(hosts):
        try:
            addresses.append(x509.IPAddress(ipaddress.ip_network(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    excluded = None if addresses else [x509.IPAddress(network) for network in _EVERYWHERE]
    return x509.NameConstraints([*(names or [x509.DNSName(_NOBODYS)]), *addresses], excluded)


def certificates(path: Path) -> tuple[x509.Certificate, ...]:
    """Return the certificate of an authority and those above it; raises `MachineError` (`ca_unusable`)."""
    try:
        return tuple(x509.load_pem_x509_certificates(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise _unusable(path, error) from None


def read(files: AuthorityFiles) -> Authority:
    """Open an authority that `check` has found good; raises `MachineError` (`ca_unusable`) where it is so no longer."""
    first, *above = certificates(files.cert)
    try:
        pem = opened_key(files.key.read_text(encoding="ascii"), files.keys)
        key = load_pem_private_key(pem.reveal().encode(), password=None)
    except (OSError, ValueError, TypeError, KeyRefusedError) as error:
        raise _unusable(files.key, error) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | RSAPrivateKey) or key.public_key() != first.public_key():
        raise MachineError("ca_unusable", f"the key {files.key} does not belong to the authority {files.cert}")
    return Authority(first, tuple(above), key, coverage_of(first))


def _unusable(path: Path, error: Exception) -> MachineError:
    reason = (error.strerror or "it can't be read").lower() if isinstance(error, OSError) else "it is not what it was"
    return MachineError("ca_unusable", f"the local authority's file {path} can't be used: {reason}")


def write(files: AuthorityFiles, certificate: str, key: Secret, seal: Seal | None) -> None:
    """Write both files, the key for nobody else to read, and sealed where there is something to seal it with.

    Raises `MachineError` (`ca_not_written`).
    """
    text = key.reveal() if seal is None else seal(key.reveal(), PURPOSE) + "\n"
    try:
        for path in (files.key, files.cert):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The key first: a certificate without its key is noticed by whoever looks for an authority.
        _replace(files.key, text, 0o600)
        _replace(files.cert, certificate, 0o644)
    except OSError as error:
        message = f"the authority can't be written to {error.filename}: {error.strerror}"
        raise MachineError("ca_not_written", message) from None


def _replace(path: Path, text: str, mode: int) -> None:
    """Write beside and rename, so that there is the old file or the new one at any time."""
    beside = path.with_name(f".{path.name}.new")
    with suppress(FileNotFoundError):
        beside.unlink()
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            os.fchmod(descriptor, mode)  # whatever the umask has taken away
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
