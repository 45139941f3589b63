"""TLS material: PEM text or the path of a file that holds it, and whether certificate and key belong together.

`cryptography` is imported by the first PEM, since most sidecars have none and it costs 90 ms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from proxy.definitions.notation.kinds import Kind, without_placeholder
from proxy.definitions.notation.nodes import Mapping, Node, Scalar, described
from proxy.definitions.notation.values import FORMS, file_text, inline, referred
from proxy.secret import Secret

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from proxy.definitions.notation.reading import Reading

BEGIN: Final = "-----BEGIN"
_ENCRYPTED: Final = "client_certificate_key_encrypted"
SOON: Final = 14 * 86400.0  # what remains of a certificate when it is time to say so
MAX_BYTES: Final = 1024 * 1024  # a whole system bundle of roots has a quarter of that


@dataclass(frozen=True)
class Certificates(Kind[str]):
    """One or more certificates as PEM text, or the path of their file."""

    def read(self, node: Node, reading: Reading) -> str:
        return _pem(node, reading)

    def schema(self) -> dict[str, Any]:
        return _SCHEMA


@dataclass(frozen=True, slots=True)
class KeyText:
    """A private key in PEM, and the public half by which its certificate is known (SubjectPublicKeyInfo, DER)."""

    pem: Secret
    public: bytes


@dataclass(frozen=True)
class PrivateKey(Kind[KeyText]):
    """A private key as PEM text, which is a secret, or the path of its file, which is not."""

    def read(self, node: Node, reading: Reading) -> KeyText:
        if isinstance(node, Scalar) and node.text.startswith(BEGIN):
            return private_key(node, _repaired(inline(node, reading)), reading, encrypted=_ENCRYPTED)
        return private_key(node, _pem(node, reading, secret=True), reading, encrypted=_ENCRYPTED)

    def schema(self) -> dict[str, Any]:
        return _SCHEMA


_SCHEMA: Final = {"anyOf": [{"type": "string"}, *({"$ref": f"#/$defs/{form}"} for form in FORMS)]}


def _pem(node: Node, reading: Reading, *, secret: bool = False) -> str:
    if isinstance(node, Mapping):
        text = referred(node, reading, secret=secret)
    elif isinstance(node, Scalar) and not node.is_null and node.text:
        text = without_placeholder(node, reading)
    else:
        raise reading.refused(
            node, "wrong_type", f"expected PEM text or the path of a PEM file, found {described(node)}"
        )
    if not text.startswith(BEGIN):
        if "\n" in text or (isinstance(node, Mapping) and "file" in node.entries):
            raise reading.refused(node, "tls_pem_invalid", "this is not PEM: it does not begin with -----BEGIN")
        text = file_text(
            node, text, reading, MAX_BYTES, named=isinstance(node, Scalar) and not secret, secret=secret
        ).text
    if BEGIN not in text:
        raise reading.refused(node, "tls_pem_invalid", "this is not PEM: there is no -----BEGIN in it")
    return _repaired(text)


def _repaired(text: str) -> str:
    """Turn a backslash and an n into line breaks where they stand for them (PEM in one line of an env file)."""
    return text.replace("\\n", "\n") if "\\n" in text and "\n" not in text.strip() else text


def check_roots(node: Node, pem: str, reading: Reading) -> None:
    """Fault where `pem` holds no readable certificate."""
    _certificates(node, pem, reading)


def private_key(node: Node, pem: str, reading: Reading, *, encrypted: str = "tls_key_encrypted") -> KeyText:
    """Return the key, or raise `UnreadableError` where it is none or has a passphrase (the fault `encrypted`)."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    try:
        private = load_pem_private_key(pem.encode(), password=None)
    except TypeError:
        raise reading.refused(node, encrypted, "the private key is encrypted; write it without a passphrase") from None
    except (ValueError, UnsupportedAlgorithm):
        raise reading.refused(node, "tls_pem_invalid", "this is not a private key in PEM") from None
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return KeyText(Secret(pem), public)


def check_pair(
    cert: Node, cert_pem: str, key: Node, public: bytes, reading: Reading, *, prefix: str = "tls_certificate"
) -> float | None:
    """Fault where the certificate can't be read, has expired or is not begun yet, or has another `public` key.

    The codes begin with `prefix`. One that expires soon is a warning. Return when it expires, in wall seconds.
    """
    chain = _certificates(cert, cert_pem, reading)
    if not chain:
        return None
    leaf = chain[0]
    if _public(leaf) != public:
        reading.fault(key, f"{prefix}_mismatch", "the private key does not belong to the certificate")
    end = leaf.not_valid_after_utc
    if end.timestamp() <= reading.now:
        reading.fault(cert, f"{prefix}_expired", f"the certificate expired on {end:%Y-%m-%d}")
    elif leaf.not_valid_before_utc.timestamp() > reading.now:
        message = f"the certificate begins on {leaf.not_valid_before_utc:%Y-%m-%d}"
        reading.fault(cert, f"{prefix}_not_yet_valid", message)
    elif end.timestamp() <= reading.now + SOON:
        reading.warn(cert, f"{prefix}_expires_soon", f"the certificate expires on {end:%Y-%m-%d}; renew it before")
    return end.timestamp()


def check_belongs(cert: Node, cert_pem: str, public: bytes, reading: Reading) -> None:
    """Fault where a certificate can't be read or has another `public` key; its dates are the server's business."""
    chain = _certificates(cert, cert_pem, reading)
    if chain and _public(chain[0]) != public:
        reading.fault(cert, "certificate_mismatch", "the private key does not belong to the certificate")


def _public(certificate: Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _certificates(node: Node, pem: str, reading: Reading) -> list[Certificate]:
    from cryptography.x509 import load_pem_x509_certificates

    try:
        return load_pem_x509_certificates(pem.encode())
    except ValueError:
        reading.fault(node, "tls_pem_invalid", "this is not a certificate in PEM")
        return []
