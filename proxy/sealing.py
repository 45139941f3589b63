"""Seals text with AES-256-GCM under one of several keys, so that it may lie where others can read it. Pure.

A sealed text names its format, its key by id, and holds nonce, ciphertext and tag: `sealed-v1.0123abcd.BASE64URL`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import TYPE_CHECKING, Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from proxy.errors import ProxyError
from proxy.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

SEALED: Final = re.compile(r"sealed-v1\.([0-9a-f]{8})\.([A-Za-z0-9_-]+)")
KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12  # what GCM takes without hashing (NIST SP 800-38D §5.2.1.1)


class SealError(ProxyError):
    """Something can't be sealed or opened; the message never quotes key or text.

    `code`: `sealed_key_missing`, `sealed_key_invalid`, `sealed_key_unknown` or `sealed_broken`.
    """

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(message)


class Keyring:
    """Keys by id: the first one seals, each of them opens what it has sealed."""

    __slots__ = ("_kept", "_keys", "first")

    def __init__(self, text: str) -> None:
        """Take keys of 32 bytes in base64, separated by commas or white space; raises `SealError`."""
        written = [word for word in re.split(r"[,\s]+", text) if word]
        if not written:
            raise SealError("sealed_key_missing", "there is no key to open sealed values with")
        raw = [_key(word, number) for number, word in enumerate(written, 1)]
        self._keys: Final = {key_id(key): AESGCM(key) for key in raw}
        self.first: Final = key_id(raw[0])
        # Held only so that a log line that has one of them is cleaned.
        self._kept = tuple(Secret(word) for word in written)

    @classmethod
    def of(cls, keys: Secret) -> Self:
        """Take the keys out of a secret; raises `SealError`."""
        return cls(keys.reveal())

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the keys, the one that seals first."""
        return tuple(self._keys)

    def seal(self, text: str, purpose: str, entropy: Callable[[int], bytes]) -> str:
        """Return the text sealed by the first key; it opens only for the same purpose."""
        nonce = entropy(_NONCE_BYTES)
        sealed = nonce + self._keys[self.first].encrypt(nonce, text.encode(), _bound(self.first, purpose))
        return f"sealed-v1.{self.first}.{base64.urlsafe_b64encode(sealed).decode('ascii').rstrip('=')}"

    def open(self, sealed: str, purpose: str) -> str:
        """Return what was sealed. Raises `SealError` (`sealed_key_unknown`, `sealed_broken`)."""
        shape = SEALED.fullmatch(sealed)
        if shape is None:
            raise SealError("sealed_broken", "this is not what `iclient-proxy seal` prints, or a part of it is missing")
        key = self._keys.get(shape[1])
        if key is None:
            raise SealError(
                "sealed_key_unknown",
                f"it was sealed with the key {shape[1]}, and there are only {', '.join(self._keys)}; "
                "add that key behind the first one, or seal the value anew",
            )
        try:
            data = base64.urlsafe_b64decode(shape[2] + "=" * (-len(shape[2]) % 4))
            return key.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], _bound(shape[1], purpose)).decode()
        except (InvalidTag, ValueError):  # no base64, too short for a nonce, no UTF-8
            raise SealError(
                "sealed_broken", "it was changed or cut after it was sealed, or sealed for another use; seal it anew"
            ) from None


def key_id(key: bytes) -> str:
    """Return eight hexadecimal digits that name a key and tell nothing about it."""
    return hashlib.sha256(b"iclient-proxy key id\0" + key).hexdigest()[:8]


def new_key(entropy: Callable[[int], bytes]) -> str:
    """Return a fresh key as it is written."""
    return base64.b64encode(entropy(KEY_BYTES)).decode("ascii")


def _key(word: str, number: int) -> bytes:
    try:
        key = base64.b64decode(word.translate(str.maketrans("-_", "+/")) + "=" * (-len(word) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise SealError("sealed_key_invalid", f"key {number} is not base64; {_REMEDY}") from None
    if len(key) != KEY_BYTES:
        raise SealError("sealed_key_invalid", f"key {number} has {len(key)} bytes instead of {KEY_BYTES}; {_REMEDY}")
    return key


def _bound(identity: str, purpose: str) -> bytes:
    return f"sealed-v1\0{identity}\0{purpose}".encode()


_REMEDY: Final = "`iclient-proxy seal --new-key` makes one"
