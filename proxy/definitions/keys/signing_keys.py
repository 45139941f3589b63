"""Private keys and shared secrets that sign assertions: read in every format they are handed out in, checked. Pure.

cryptography is imported by the first key only: a proxy without one does not pay for it.
"""

from __future__ import annotations

import base64 as codec
import binascii
import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from proxy.definitions.keys.pem_repair import BLOCK, repaired
from proxy.errors import ProxyError
from proxy.secret import Secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12KeyAndCertificates


_BEGIN: Final = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----")
_PRIVATE: Final = frozenset(
    {"PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY"}
)
_PUBLIC: Final = frozenset({"PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE", "CERTIFICATE REQUEST", "SSH2 PUBLIC KEY"})
_PPK: Final = "PuTTY-User-Key-File-"
# RFC 7518 §3.3, §3.5: RSA keys of 2048 bits or more; §3.2: an HMAC secret at least as long as the hash.
_RSA_BITS: Final = 2048
_HASH_BYTES: Final = {"HS256": 32, "HS384": 48, "HS512": 64}
_CURVES: Final = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
_CURVE_NAMES: Final = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
# X.690 §8.1: a sequence whose length is in the bytes that follow, or (BER) not said. No UTF-8 text begins so.
_DER: Final = re.compile(rb"\x30[\x80-\x84]")
_INDEFINITE: Final = 0x80
_PKCS7_OID: Final = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07"  # inside of every PKCS#12 (RFC 7292 §4)


class KeyFault(ProxyError):
    """A key can't be used: a code of the catalogue, and a message that says what it is and never quotes it."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """What signs: a private key, or the bytes of a shared secret. Two are equal if they sign alike.

    `identity` is what is compared: the DER of the public key, or the shared secret in base64.
    """

    identity: bytes | Secret
    private: PrivateKeyTypes | None = field(default=None, compare=False, repr=False)

    @property
    def shared(self) -> bytes | None:
        """The bytes of the shared secret, None where a private key signs."""
        return codec.b64decode(self.identity.reveal()) if isinstance(self.identity, Secret) else None


def private_key(data: bytes, passphrase: Secret | None) -> SigningKey:
    r"""Return the private key in `data`, told apart by content.

    PEM of PKCS#1, PKCS#8, SEC1 and OpenSSH, also with `\n` for line ends, on one line or with CRLF; PKCS#12 (also as
    base64); PuTTY's .ppk. Raises `KeyFault`: `key_encrypted`, `key_bad_passphrase`, `key_not_encrypted`,
    `key_is_public`, `key_format`, `key_invalid`.
    """
    secret = None if passphrase is None else passphrase.reveal().encode()
    text = _text(data)
    if text is not None and text.lstrip().startswith(_PPK):
        from proxy.definitions.keys.ppk import ppk

        return _signing(ppk(text, secret))
    if text is not None and (begin := _BEGIN.search(text)) is not None:
        return _signing(_pem(text, begin[1], secret))
    container = data if _DER.match(data) else _unbase64(text)
    if not _DER.match(container):
        what = "an SSH public key" if text is not None and text.startswith(("ssh-", "ecdsa-")) else "something else"
        code = "key_is_public" if what != "something else" else "key_format"
        raise KeyFault(code, f"expected a private key in PEM, PKCS#12 or .ppk, found {what}")
    return _signing(_pkcs12(container, secret))


def shared_key(secret: Secret, *, base64: bool) -> SigningKey:
    """Return the key of HMAC; `base64`: the secret is decoded first.

    Raises `KeyFault`: `key_format`, `key_too_short`.
    """
    shared = secret.reveal().encode()
    if base64:
        shared = _unbase64(secret.reveal())
        if not shared:
            raise KeyFault("key_format", "secret_base64 is true, and the secret is not base64")
    if not shared:
        raise KeyFault("key_too_short", "the secret is empty")
    # One spelling for each secret, so that plain and decoded ones compare by what signs.
    return SigningKey(Secret(codec.b64encode(shared).decode("ascii")))


def check_algorithm(key: SigningKey, algorithm: str) -> tuple[str, ...]:
    """Return warnings about a key that fits the algorithm. Raises `KeyFault`: `key_alg_mismatch`, `key_too_short`."""
    found = _kind(key)
    wanted = _wanted(algorithm)
    if found != wanted:
        raise KeyFault("key_alg_mismatch", f"{algorithm} needs {_named(wanted)}, the key is {_named(found)}")
    _check_signer(key, algorithm)
    if key.shared is not None and len(key.shared) < _HASH_BYTES[algorithm]:
        length = _HASH_BYTES[algorithm]
        return (f"the secret is shorter than the {length} bytes that {algorithm} should have (RFC 7518 §3.2)",)
    bits: int = getattr(key.private, "key_size", _RSA_BITS) if wanted == "RSA" else _RSA_BITS
    if bits < _RSA_BITS:
        raise KeyFault("key_too_short", f"an RSA key has at least {_RSA_BITS} bits (RFC 7518 §3.3), this one {bits}")
    return ()


def _check_signer(key: SigningKey, algorithm: str) -> None:
    """Have PyJWT look at the key, too: it signs no HMAC with what looks like a key of another kind (C-48).

    It is imported here, while definitions are read, so that no request waits for it.
    """
    from jwt.algorithms import get_default_algorithms
    from jwt.exceptions import InvalidKeyError

    signer: Any = get_default_algorithms()[algorithm]
    try:
        signer.prepare_key(key.shared if key.private is None else key.private)
    except InvalidKeyError:
        message = f"{algorithm} needs {_named(_wanted(algorithm))}, this is the text of a key, a certificate or a JWK"
        raise KeyFault("key_alg_mismatch", message) from None


def thumbprints(certificate_pem: str) -> tuple[str, str]:
    """Return `x5t` and `x5t#S256` of the first certificate (RFC 7515 §4.1.7, §4.1.8)."""
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509 import load_pem_x509_certificates

    der = load_pem_x509_certificates(certificate_pem.encode())[0].public_bytes(Encoding.DER)
    # SHA-1 names the certificate here, it vouches for nothing.
    sha1, sha256 = hashlib.sha1(der, usedforsecurity=False), hashlib.sha256(der)
    return _base64url(sha1.digest()), _base64url(sha256.digest())


def _pem(text: str, label: str, secret: bytes | None) -> Any:  # noqa: ANN401 a private key
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

    blocks = [block[1] for block in BLOCK.finditer(repaired(text))]
    private = [block for block in blocks if block in _PRIVATE]
    if not private:
        if label in _PUBLIC:
            raise KeyFault("key_is_public", f"expected a private key, found {_spoken(label)}")
        raise KeyFault("key_invalid" if label in _PRIVATE else "key_format", _cut_short(label))
    if len(private) > 1:
        raise KeyFault("key_format", "there are two private keys; write one")
    pem = next(block[0] for block in BLOCK.finditer(repaired(text)) if block[1] in _PRIVATE).encode() + b"\n"
    load = load_ssh_private_key if private[0].startswith("OPENSSH") else load_pem_private_key
    try:
        return load(pem, secret)
    except TypeError:
        raise _passphrase_fault(secret) from None
    except UnsupportedAlgorithm:
        raise KeyFault("key_format", f"this {_spoken(private[0])} is of a kind that signs nothing here") from None
    except ValueError:
        if secret is not None and _is_encrypted(private[0], pem) and not _is_cut(private[0], pem):
            raise KeyFault("key_bad_passphrase", "the passphrase does not open the key") from None
        raise KeyFault("key_invalid", f"this is no valid {_spoken(private[0])}; was it cut?") from None


def _pkcs12(data: bytes, secret: bytes | None) -> Any:  # noqa: ANN401 a private key
    if _PKCS7_OID not in data or not _whole(data):
        raise KeyFault("key_invalid", "this is neither PKCS#12 nor PEM; was it cut?")
    # Programs differ in what no passphrase is.
    unlocked = _opened(data, None) or _opened(data, b"")
    if unlocked is not None and secret is not None:
        raise KeyFault("key_not_encrypted", "the PKCS#12 file is not encrypted; remove the passphrase")
    if unlocked is None and secret is None:
        raise KeyFault("key_encrypted", "the PKCS#12 file is encrypted; write its passphrase")
    found = unlocked or _opened(data, secret)
    if found is None:
        raise KeyFault("key_bad_passphrase", "the passphrase does not open the PKCS#12 file, or it is damaged")
    if found.key is None:
        raise KeyFault("key_invalid", "the PKCS#12 file holds no private key")
    return found.key


def _opened(data: bytes, secret: bytes | None) -> PKCS12KeyAndCertificates | None:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12

    try:
        return load_pkcs12(data, secret)
    except UnsupportedAlgorithm:
        raise KeyFault("key_format", "the PKCS#12 file is encrypted in a way that can't be read here") from None
    except (ValueError, TypeError):
        return None


def _whole(data: bytes) -> bool:
    """Tell whether the outer element ends where the data does (X.690 §8.1.3)."""
    count = data[1] & 0x7F
    return data[1] == _INDEFINITE or 2 + count + int.from_bytes(data[2 : 2 + count], "big") == len(data)


def _signing(private: Any) -> SigningKey:  # noqa: ANN401 a private key
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return SigningKey(public, private=private)


def _passphrase_fault(secret: bytes | None) -> KeyFault:
    if secret is None:
        return KeyFault("key_encrypted", "the private key is encrypted; write its passphrase")
    return KeyFault("key_not_encrypted", "the private key is not encrypted; remove the passphrase")


def _is_encrypted(label: str, pem: bytes) -> bool:
    if label.startswith("OPENSSH"):
        return b"none" not in _content(pem)[:40]
    return label.startswith("ENCRYPTED") or b"ENCRYPTED" in pem


def _is_cut(label: str, pem: bytes) -> bool:
    """Tell whether something is missing of PKCS#8; of older formats the passphrase hides it."""
    data = _content(pem) if label.startswith("ENCRYPTED") else b""
    return label.startswith("ENCRYPTED") and not (_DER.match(data) and _whole(data))


def _content(pem: bytes) -> bytes:
    return _unbase64(b"".join(pem.split(b"\n")[1:-2]).decode("ascii", "replace"))


def _kind(key: SigningKey) -> str:
    if key.private is None:
        return "secret"
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    match key.private:
        case RSAPrivateKey():
            return "RSA"
        case EllipticCurvePrivateKey(curve=curve):
            return curve.name
        case Ed25519PrivateKey() | Ed448PrivateKey():
            return "EdDSA"
        case _:
            return "another"


def _wanted(algorithm: str) -> str:
    if algorithm in _HASH_BYTES:
        return "secret"
    return _CURVES.get(algorithm, "EdDSA" if algorithm == "EdDSA" else "RSA")


def _named(kind: str) -> str:
    if kind in _CURVE_NAMES:
        return f"an EC key on {_CURVE_NAMES[kind]}"
    named = {"secret": "a shared secret", "RSA": "an RSA key", "EdDSA": "an Ed25519 key", "another": "of another kind"}
    return named.get(kind, f"an EC key on {kind}")


def _spoken(label: str) -> str:
    return {"CERTIFICATE": "a certificate", "OPENSSH PRIVATE KEY": "OpenSSH private key"}.get(
        label, label.lower().replace("rsa", "RSA").replace("ec ", "EC ")
    )


def _cut_short(label: str) -> str:
    if label in _PRIVATE:
        return f"the {_spoken(label)} has no END line; was it cut?"
    return f"expected a private key, found {_spoken(label)}"


def _text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _unbase64(text: str | None) -> bytes:
    packed = re.sub(r"\s", "", text or "").replace("-", "+").replace("_", "/")
    try:
        return codec.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _base64url(data: bytes) -> str:
    return codec.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
