"""TLS material: PEM text or the path of a file that holds it, and whether certificate and key belong together.

`cryptography` is imported by the first PEM, since most sidecars have none and it costs 90 ms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from proxy.definitions.kinds import Kind, without_placeholder
from proxy.definitions.nodes import Mapping, Node, Scalar, described
from proxy.definitions.values import file_text, inline, referred
from proxy.secret import Secret

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from proxy.definitions.reading import Reading

BEGIN: Final = "-----BEGIN"
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
            return private_key(node, _repaired(inline(node, reading)), reading)
        return private_key(node, _pem(node, reading, secret=True), reading)

    def schema(self) -> dict[str, Any]:
        return _SCHEMA


_SCHEMA: Final = {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/env"}, {"$ref": "#/$defs/file"}]}


def _pem(node: Node, reading: Reading, *, secret: bool = False) -> str:
    if isinstance(node, Mapping):
        text = referred(node, reading)
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


def private_key(node: Node, pem: str, reading: Reading) -> KeyText:
    """Return the key, or raise `UnreadableError` where it is none or has a passphrase."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    try:
        private = load_pem_private_key(pem.encode(), password=None)
    except TypeError:
        raise reading.refused(
            node, "tls_key_encrypted", "the private key is encrypted; write it without a passphrase"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise reading.refused(node, "tls_pem_invalid", "this is not a private key in PEM") from None
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return KeyText(Secret(pem), public)


def check_pair(cert: Node, cert_pem: str, key: Node, public: bytes, reading: Reading) -> None:
    """Fault where the certificate can't be read, has expired or is not begun yet, or has another `public` key."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    chain = _certificates(cert, cert_pem, reading)
    if not chain:
        return
    leaf = chain[0]
    if leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != public:
        reading.fault(key, "tls_key_mismatch", "the private key does not belong to the certificate")
    if leaf.not_valid_after_utc.timestamp() <= reading.now:
        reading.fault(
            cert, "tls_certificate_expired", f"the certificate expired on {leaf.not_valid_after_utc:%Y-%m-%d}"
        )
    elif leaf.not_valid_before_utc.timestamp() > reading.now:
        reading.fault(
            cert, "tls_certificate_not_yet_valid", f"the certificate begins on {leaf.not_valid_before_utc:%Y-%m-%d}"
        )


def _certificates(node: Node, pem: str, reading: Reading) -> list[Certificate]:
    from cryptography.x509 import load_pem_x509_certificates

    try:
        return load_pem_x509_certificates(pem.encode())
    except ValueError:
        reading.fault(node, "tls_pem_invalid", "this is not a certificate in PEM")
        return []
