"""PuTTY's private key files, versions 2 and 3: `puttygen` writes them, nothing else in our reach reads them. Pure.

The format is described in appendix C of PuTTY's manual: header lines, the public blob, the private blob (AES-256-CBC
where there is a passphrase), and a MAC over all of it that also tells a wrong passphrase.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Any, Final

from proxy.definitions.keys.signing_keys import KeyFault

_FIRST: Final = re.compile(r"PuTTY-User-Key-File-([23]): (\S+)")
_BLOCK: Final = 16
_INVALID: Final = "the .ppk file is damaged; was it cut?"
_CURVES: Final = {"nistp256": "SECP256R1", "nistp384": "SECP384R1", "nistp521": "SECP521R1"}
# Far beyond what puttygen writes, and far below what would stop the start of a proxy.
_ARGON_MEMORY_MAX: Final = 1024 * 1024  # KiB
_ARGON_PASSES_MAX: Final = 1000
_ARGON_LANES_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class _File:
    """The parts of a file as they stand there."""

    version: int
    algorithm: str
    fields: dict[str, str]
    public: bytes
    private: bytes
    mac: bytes


def ppk(text: str, secret: bytes | None) -> Any:  # noqa: ANN401 a private key
    """Return the private key: RSA, ECDSA on the three NIST curves, Ed25519.

    Raises `KeyFault`: `key_encrypted`, `key_bad_passphrase`, `key_not_encrypted`, `key_format`, `key_invalid`.
    """
    file = _parts(text)
    encryption = file.fields.get("Encryption", "")
    if encryption not in ("none", "aes256-cbc"):
        raise KeyFault("key_format", "the .ppk file is encrypted in an unknown way")
    encrypted = encryption != "none"
    if encrypted and secret is None:
        raise KeyFault("key_encrypted", "the .ppk file is encrypted; write its passphrase")
    if not encrypted and secret is not None:
        raise KeyFault("key_not_encrypted", "the .ppk file is not encrypted; remove the passphrase")
    cipher_key, iv, mac_key = _keys(file, secret or b"", encrypted=encrypted)
    private = _decrypted(file.private, cipher_key, iv) if encrypted else file.private
    if not hmac.compare_digest(_mac(file, mac_key, private), file.mac):
        if encrypted:
            raise KeyFault("key_bad_passphrase", "the passphrase does not open the .ppk file, or it is damaged")
        raise KeyFault("key_invalid", _INVALID)
    try:
        return _key(file.algorithm, _Fields(file.public), _Fields(private))
    except (ValueError, ArithmeticError):  # numbers that are no key, a prime of 1 among them
        raise KeyFault("key_invalid", _INVALID) from None


def _parts(text: str) -> _File:
    lines = text.strip().splitlines()
    first = _FIRST.fullmatch(lines[0].strip())
    if first is None:
        raise KeyFault("key_format", "this version of .ppk is not known; versions 2 and 3 are")
    fields: dict[str, str] = {}
    blobs: dict[str, bytes] = {}
    at = 1
    try:
        while at < len(lines):
            name, _, value = lines[at].partition(": ")
            at += 1
            if name in ("Public-Lines", "Private-Lines"):
                count = _count(value)
                blobs[name] = base64.b64decode("".join(lines[at : at + count]), validate=True)
                at += count
            else:
                fields[name] = value
        mac = bytes.fromhex(fields["Private-MAC"])
        return _File(int(first[1]), first[2], fields, blobs["Public-Lines"], blobs["Private-Lines"], mac)
    except (KeyError, ValueError, binascii.Error):
        raise KeyFault("key_invalid", _INVALID) from None


def _keys(file: _File, secret: bytes, *, encrypted: bool) -> tuple[bytes, bytes, bytes]:
    """Return the keys of cipher and MAC, and the initialisation vector."""
    if file.version == 2:
        cipher = b"".join(hashlib.sha1(bytes([0, 0, 0, n]) + secret).digest() for n in (0, 1))[:32]  # noqa: S324 the format's own  # nosec B324
        return cipher, bytes(_BLOCK), hashlib.sha1(b"putty-private-key-file-mac-key" + secret).digest()  # noqa: S324 as above  # nosec B324
    if not encrypted:
        return b"", b"", b""
    derived = _argon2(file, secret)
    return derived[:32], derived[32:48], derived[48:]


def _argon2(file: _File, secret: bytes) -> bytes:
    from cryptography.hazmat.primitives.kdf import argon2

    try:
        kind: Any = {"Argon2id": argon2.Argon2id, "Argon2i": argon2.Argon2i, "Argon2d": argon2.Argon2d}[
            file.fields["Key-Derivation"]
        ]
        memory, passes, lanes = (
            _count(file.fields[name]) for name in ("Argon2-Memory", "Argon2-Passes", "Argon2-Parallelism")
        )
        salt = bytes.fromhex(file.fields["Argon2-Salt"])
    except (KeyError, ValueError):
        raise KeyFault("key_invalid", _INVALID) from None
    if memory > _ARGON_MEMORY_MAX or passes > _ARGON_PASSES_MAX or lanes > _ARGON_LANES_MAX:
        raise KeyFault("key_format", "the .ppk file asks for more work than any puttygen does")
    try:
        derived: bytes = kind(salt=salt, length=80, iterations=passes, lanes=lanes, memory_cost=memory).derive(secret)
    except ValueError:  # numbers that Argon2 has no meaning for (RFC 9106 §3.1)
        raise KeyFault("key_invalid", _INVALID) from None
    return derived


def _count(text: str) -> int:
    """Return a number of the file. Raises `ValueError`: a negative one would lead back to lines that were read."""
    if not text.isdecimal():
        raise ValueError("not a count")
    return int(text)


def _decrypted(data: bytes, key: bytes, iv: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    if not data or len(data) % _BLOCK:
        raise KeyFault("key_invalid", _INVALID)
    decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
    return decryptor.update(data) + decryptor.finalize()


def _mac(file: _File, key: bytes, private: bytes) -> bytes:
    parts = (
        file.algorithm.encode(),
        file.fields.get("Encryption", "").encode(),
        file.fields.get("Comment", "").encode(),
        file.public,
        private,
    )
    content = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return hmac.new(key, content, "sha1" if file.version == 2 else "sha256").digest()


class _Fields:
    """Reads the strings and numbers of an SSH blob (RFC 4251 §5) one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def string(self) -> bytes:
        size = int.from_bytes(self._data[self._at : self._at + 4], "big")
        begin = self._at + 4
        self._at = begin + size
        if len(self._data) < self._at:
            raise ValueError("the blob ends too early")
        return self._data[begin : self._at]

    def number(self) -> int:
        return int.from_bytes(self.string(), "big")


def _key(algorithm: str, public: _Fields, private: _Fields) -> Any:  # noqa: ANN401 a private key
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    public.string()  # the algorithm once more
    if algorithm == "ssh-rsa":
        e, n = public.number(), public.number()
        d, p, q = private.number(), private.number(), private.number()
        numbers = rsa.RSAPrivateNumbers(
            p=p,
            q=q,
            d=d,
            dmp1=rsa.rsa_crt_dmp1(d, p),
            dmq1=rsa.rsa_crt_dmq1(d, q),
            iqmp=rsa.rsa_crt_iqmp(p, q),
            public_numbers=rsa.RSAPublicNumbers(e, n),
        )
        return numbers.private_key()
    if algorithm == "ssh-ed25519":
        return ed25519.Ed25519PrivateKey.from_private_bytes(private.string()[:32])
    curve = _CURVES.get(algorithm.removeprefix("ecdsa-sha2-"))
    if curve is None:
        raise KeyFault("key_format", f"a .ppk file of the kind {algorithm[:30]!r} can't sign assertions")
    return ec.derive_private_key(private.number(), getattr(ec, curve)())
