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
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from proxy.definitions.keys.signer import PURPOSE, KeyRefusedError, opened, signer_of
from proxy.errors import MachineError
from proxy.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from proxy.clock import Clock
    from proxy.definitions.keys.signer import Signer
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
    """What clients trust, and what signs for it."""

    trusted: x509.Certificate
    signer: Signer

    @property
    def pem(self) -> str:
        """The public part, as clients are given it to trust."""
        return self.trusted.public_bytes(Encoding.PEM).decode("ascii")

    @property
    def until(self) -> dt.datetime:
        """When it ends."""
        return min(each.not_valid_after_utc for each in self.signer.chain)


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of a certificate in pairs of digits: `9A:F3:…`."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def make(hosts: Iterable[str], clock: Clock, entropy: Callable[[int], bytes]) -> tuple[str, Secret]:
    """Make an authority for these domains and addresses, and nothing else.

    Returns what clients are to trust (PEM), and what signs: a private key with a certificate below that one (PEM). The
    trusted one's own key is gone by then. Java, for one, does not ask what it trusts for name constraints, only what
    is below: so whoever steals the file can't sign for other sites in anybody's eyes.
    """
    constraints = _constraints(hosts)
    now = dt.datetime.fromtimestamp(clock.wall(), dt.UTC)
    # A name of its own: two authorities of one name on one machine are mistaken for each other.
    mark = entropy(4).hex()
    names = [_named(f"iclient-proxy {what} {mark}") for what in ("local CA", "signer")]
    root, key = (ec.generate_private_key(ec.SECP256R1()) for _ in names)

    def signed(name: x509.Name, public: ec.EllipticCurvePublicKey, below: int) -> str:
        return (
            x509.CertificateBuilder(names[0], name, public, serial(entropy), now - BACKDATED, now + LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=below), critical=True)
            .add_extension(_usage(sign_certificates=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(constraints, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), critical=False)
            .sign(root, hashes.SHA256())
            .public_bytes(Encoding.PEM)
            .decode("ascii")
        )

    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")
    return signed(names[0], root.public_key(), 1), Secret(private + signed(names[1], key.public_key(), 0))


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


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
    """Return what clients are to trust; raises `MachineError` (`ca_unusable`)."""
    try:
        return tuple(x509.load_pem_x509_certificates(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise _unusable(path, error) from None


def of(trusted: str, signer: Secret) -> Authority:
    """Return the authority that `parts` has taken apart, or `make` has made; raises `KeyRefusedError`."""
    certificate = x509.load_pem_x509_certificate(trusted.encode("ascii"))
    return Authority(certificate, signer_of(signer, certificate))


def parts(authority: Authority) -> tuple[str, Secret]:
    """Return what clients trust, and what signs with the certificates that lead there, as `make` does."""
    private = authority.signer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    beside = (each.public_bytes(Encoding.PEM) for each in authority.signer.chain[:-1])
    return authority.pem, Secret(b"".join((private, *beside)).decode("ascii"))


def read(files: AuthorityFiles) -> Authority:
    """Open an authority that `check` has found good; raises `MachineError` (`ca_unusable`) where it is so no longer."""
    trusted = certificates(files.cert)[0]
    try:
        return Authority(trusted, signer_of(opened(files.key.read_text(encoding="ascii"), files.keys), trusted))
    except (OSError, ValueError, KeyRefusedError) as error:
        raise _unusable(files.key, error) from None


def _unusable(path: Path, error: Exception) -> MachineError:
    match error:
        case KeyRefusedError(message=message):
            reason = message
        case OSError(strerror=str(said)):
            reason = said.lower()
        case _:
            reason = "it is not what it was"
    return MachineError("ca_unusable", f"the local authority's file {path} can't be used: {reason}")


def write(files: AuthorityFiles, trusted: str, signer: Secret, seal: Seal | None) -> None:
    """Write what `make` has made, the key for nobody else to read, and sealed where there is something to seal it with.

    Raises `MachineError` (`ca_not_written`).
    """
    text = signer.reveal() if seal is None else seal(signer.reveal(), PURPOSE) + "\n"
    try:
        for path in (files.key, files.cert):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The key first: a certificate without its key is noticed by whoever looks for an authority.
        _replace(files.key, text, 0o600)
        _replace(files.cert, trusted, 0o644)
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
