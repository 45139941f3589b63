"""What an authority signs with: a private key, and the certificates that lead from it to the one that clients trust.

They stand in one file, the key first. The key of the trusted certificate itself stands alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from proxy.definitions.coverage import coverage_of
from proxy.secret import Secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.x509 import Certificate

    from proxy.definitions.coverage import Coverage

SEALED: Final = "sealed-v1."
# What the file is sealed for: it opens nowhere else, and no other sealed text opens here.
PURPOSE: Final = "local authority"


class KeyRefusedError(Exception):
    """The private key can't be used: a code of ours, and a message that never quotes it."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Signer:
    """The key, and a chain from its own certificate to the trusted one, which may be the same."""

    key: EllipticCurvePrivateKey | RSAPrivateKey
    chain: tuple[Certificate, ...]
    coverage: tuple[Coverage, ...] = field(init=False)  # what each of the chain permits

    def __post_init__(self) -> None:
        object.__setattr__(self, "coverage", tuple(coverage_of(each) for each in self.chain))

    @property
    def is_bound(self) -> bool:
        """Whether there is any host that it may not sign for."""
        return any(each.is_bound for each in self.coverage)

    def covers(self, host: str) -> bool:
        """Tell whether it may sign for the host, canonical or a claim such as `*.example.com`."""
        return all(each.covers(host) for each in self.coverage)


def opened(text: str, ring: Secret | None) -> Secret:
    """Return what stands in the file, opened with the keys where it is sealed; raises `KeyRefusedError`."""
    if not text.startswith(SEALED):
        return Secret(text)
    from proxy.sealing import Keyring, SealError

    if ring is None:
        raise KeyRefusedError("ca_key_sealed", "the private key is sealed: set ICLIENT_PROXY_KEY, which has sealed it")
    try:
        return Secret(Keyring.of(ring).open(text.strip(), PURPOSE))
    except SealError as error:
        raise KeyRefusedError("ca_key_sealed", f"the private key does not open: {error.message}") from None


def signer_of(pem: Secret, trusted: Certificate) -> Signer:
    """Return what signs for the trusted certificate.

    Raises `KeyRefusedError`: `ca_invalid`, or `ca_mismatch` where the key or what stands beside it belongs to another.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.x509 import load_pem_x509_certificates

    key = _private(pem)
    text = pem.reveal().encode()
    try:
        beside = load_pem_x509_certificates(text) if b"-----BEGIN CERTIFICATE-----" in text else []
    except ValueError:
        raise KeyRefusedError("ca_invalid", "what stands beside the private key is no certificate in PEM") from None
    chain = (*beside, trusted)
    if chain[0].public_key() != key.public_key():
        raise KeyRefusedError("ca_mismatch", "the private key does not belong to the certificate of the authority")
    for one, issuer in pairwise(chain):
        try:
            one.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature):
            message = "a certificate beside the private key does not lead to that of the authority"
            raise KeyRefusedError("ca_mismatch", message) from None
    return Signer(key, chain)


def _private(pem: Secret) -> EllipticCurvePrivateKey | RSAPrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem.reveal().encode(), password=None)
    except TypeError:
        message = "the private key has a passphrase; write it without one, or have `iclient-proxy ca init` seal its own"
        raise KeyRefusedError("ca_invalid", message) from None
    except (ValueError, UnsupportedAlgorithm):
        raise KeyRefusedError("ca_invalid", "this is not a private key in PEM") from None
    if not isinstance(key, EllipticCurvePrivateKey | RSAPrivateKey):
        raise KeyRefusedError("ca_invalid", "the private key is neither of an elliptic curve nor RSA")
    return key


def may_sign(certificate: Certificate) -> bool:
    """Whether the certificate is one of an authority (RFC 5280 §4.2.1.9 and §4.2.1.3)."""
    from cryptography import x509

    extensions = certificate.extensions
    try:
        constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return False
    try:
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return constraints.ca
    return constraints.ca and usage.key_cert_sign
