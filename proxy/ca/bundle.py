"""What clients are given to trust: the certificate itself, or with it every root that this machine trusts already.

A runtime that is told of one file reads that file only: with our certificate alone it would trust nothing else.
"""

from __future__ import annotations

import re
import ssl
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat
from cryptography.hazmat.primitives.serialization.pkcs12 import (
    PBES,
    PKCS12Certificate,
    load_pkcs12,
    serialize_java_truststore,
)
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import NameOID

from proxy.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ALIAS: Final = b"iclient-proxy"
# Where distributions keep all roots in one file, beside where our own OpenSSL looks.
_FILES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine, Arch
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # Fedora, RHEL
    "/etc/pki/tls/certs/ca-bundle.crt",  # RHEL 6, Amazon Linux
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # Alpine, macOS
)
_CACERTS: Final = "lib/security/cacerts"  # below the home of a Java
_SYSTEM_CACERTS: Final = ("/etc/ssl/certs/java/cacerts", "/etc/pki/java/cacerts")  # Debian, Fedora
_CHANGEIT: Final = b"changeit"  # the password that every Java comes with
_JKS: Final = 0xFEEDFEED
_JKS_CERTIFICATE: Final = 2  # an entry of that kind holds a certificate, no key
_ROUNDS: Final = 10_000  # what keytool takes
_PEM: Final = re.compile(r"-----BEGIN CERTIFICATE-----\s.*?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Roots:
    """The certificates of one file, as their bytes (DER): some that machines trust are not what RFC 5280 allows."""

    path: Path
    certificates: tuple[bytes, ...]


def system_roots() -> Roots:
    """Return what this machine trusts; raises `MachineError` (`no_system_roots`) where no file of it is found."""
    # As compiled in: SSL_CERT_FILE may name a bundle of ours, which would never learn of a new root.
    own = ssl.get_default_verify_paths().openssl_cafile
    places = tuple(dict.fromkeys((own, *_FILES)))
    for place in places:
        roots = pem_roots(Path(place))
        if roots is not None:
            return roots
    raise MachineError(
        "no_system_roots", f"no roots of this machine are found in {', '.join(places)}: use --roots FILE"
    )


def pem_roots(path: Path) -> Roots | None:
    """Return the certificates of a PEM file, None where there are none to be read."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
        found = tuple(filter(None, (ssl.PEM_cert_to_DER_cert(each) for each in _PEM.findall(text))))
    except (OSError, ValueError):
        return None
    return Roots(path, found) if found else None


def java_roots(home: str) -> Roots | None:
    """Return what the Java at `home`, else that of the system, trusts; None where none is found or it can't be read.

    Administrators add authorities there, too, and a trust store of ours takes its place.
    """
    for place in (*((Path(home) / _CACERTS,) if home else ()), *map(Path, _SYSTEM_CACERTS)):
        try:
            data = place.read_bytes()
            found = _jks(data) if data[:4] == struct.pack(">I", _JKS) else _pkcs12(data)
        except (OSError, ValueError, struct.error):
            continue
        return Roots(place, found)
    return None


def _pkcs12(data: bytes) -> tuple[bytes, ...]:
    with _odd_ones():
        found = load_pkcs12(data, _CHANGEIT).additional_certs
    return tuple(each.certificate.public_bytes(Encoding.DER) for each in found)


def _jks(data: bytes) -> tuple[bytes, ...]:
    """Read the certificates of a Java key store of the old kind; they stand in it in clear."""
    found = []
    _, version, count = struct.unpack_from(">III", data)
    at = 12
    for _ in range(count):
        (kind,) = struct.unpack_from(">I", data, at)
        if kind != _JKS_CERTIFICATE:
            raise ValueError("an entry with a key")
        at = _after(data, at + 4) + 8  # the alias, and when it came in
        if version > 1:
            at = _after(data, at)  # "X.509"
        (size,) = struct.unpack_from(">I", data, at)
        found.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return tuple(found)


def _after(data: bytes, at: int) -> int:
    (size,) = struct.unpack_from(">H", data, at)
    return at + 2 + int(size)


def bundle(own: Sequence[x509.Certificate], *roots: Roots) -> str:
    """Return one PEM file of all of them, our own first, each once."""
    return "".join(ssl.DER_cert_to_PEM_cert(each) for each in _once(own, roots))


def count(own: Sequence[x509.Certificate], *roots: Roots) -> int:
    """Return how many certificates that makes."""
    return len(_once(own, roots))


def trust_store(own: Sequence[x509.Certificate], *roots: Roots, password: str) -> bytes:
    """Return a trust store of Java (PKCS #12) with all of them; the password seals it, nothing in it is secret."""
    entries = []
    with _odd_ones():
        for number, each in enumerate(_once(own, roots)):
            try:
                certificate = x509.load_der_x509_certificate(each)
                entries.append(PKCS12Certificate(certificate, _alias(certificate) if number else ALIAS))
            except ValueError:
                continue  # no client could verify anything with it
    # What also a Java 8 of before 2021 can open; there is nothing to hide.
    encryption = (
        PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(_ROUNDS)
        .key_cert_algorithm(PBES.PBESv1SHA1And3KeyTripleDESCBC)
        .hmac_hash(hashes.SHA1())  # noqa: S303 as above  # nosec B303
        .build(password.encode())
    )
    return serialize_java_truststore(entries, encryption)


def _alias(certificate: x509.Certificate) -> bytes:
    """Return a name that no other entry has: a second one of the same name would take its place."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    named = str(names[0].value).lower() if names else "root"
    return f"{named} {certificate.fingerprint(hashes.SHA256())[:4].hex()}".encode()


def _odd_ones() -> warnings.catch_warnings[None]:
    """Let roots pass whose serial number is not what it should be; they are other people's."""
    return warnings.catch_warnings(action="ignore", category=CryptographyDeprecationWarning)


def _once(own: Iterable[x509.Certificate], roots: Iterable[Roots]) -> list[bytes]:
    ours = [each.public_bytes(Encoding.DER) for each in own]
    return list(dict.fromkeys([*ours, *(each for one in roots for each in one.certificates)]))
