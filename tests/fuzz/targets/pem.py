"""PEM that was damaged on its way: repaired to the same key; and a private key, whatever comes, is one or a fault."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from proxy.definitions.keys.pem_repair import BLOCK, repaired
from proxy.definitions.keys.signing_keys import KeyFault, private_key
from tests.fuzz.targets import Target

_ENDS: Final = ("\n", "\\n", " ", "\r\n", "", "\\r\\n", "\t", "\n\n")


@cache
def _pem(number: int) -> str:
    key = (
        ec.derive_private_key(0xC0FFEE + number, ec.SECP256R1())
        if number % 2
        else ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    )
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def check(data: bytes) -> None:
    """See the rule: the bytes are damage to a good key first, then a key themselves."""
    _damaged(data)
    text = data.decode("utf-8", "replace")
    once = repaired(text)
    if "Proc-Type" not in once:  # what looks like its header, and is none, is packed as the rest is
        assert repaired(once).rstrip("\n") == once.rstrip("\n"), "what was repaired can be repaired"
    if "\\n" not in text:
        assert _packed(once) == _packed(text), "a character was lost or added"
    try:
        private_key(data, None)
    except KeyFault as fault:
        assert fault.code


def _damaged(data: bytes) -> None:
    """Replace the line ends of a good key by others, as the bytes say; all of one kind where the first is odd."""
    whole = _pem((data + b"\0")[0] % 4)
    lines = whole.strip().split("\n")
    kinds = [_ENDS[each % len(_ENDS)] for each in (data or b"\0")]
    # `\n` of two characters comes from an escape that replaced all line ends, not some.
    kinds = kinds[:1] if kinds[0].startswith("\\") else [" " if kind.startswith("\\") else kind for kind in kinds]
    text = "".join(line + kinds[number % len(kinds)] for number, line in enumerate(lines))
    again = load_pem_private_key(repaired(text).encode(), None)
    assert _public(again) == _public(load_pem_private_key(whole.encode(), None)), "another key"


def _public(key: object) -> bytes:
    assert isinstance(key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey)
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _packed(text: str) -> list[str]:
    """Return the characters of each block, without white space."""
    return [re.sub(r"\s", "", block[0]) for block in BLOCK.finditer(text)]


_ENCRYPTED: Final = (
    b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"
    b"DEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\nAAAA\n-----END RSA PRIVATE KEY-----"
)
_PLAIN: Final = _pem(1)
TARGET: Final = Target(
    "a good key is the same after any damage to its line ends; repair is idempotent; else only KeyFault",
    check,
    (
        *(bytes([kind]) for kind in range(len(_ENDS))),
        bytes(range(8)),
        _PLAIN.encode(),
        _PLAIN.replace("\n", "\\n").encode(),
        _PLAIN.replace("\n", " ").encode(),
        _PLAIN[:-30].encode(),
        b"-----BEGIN X-----\n-----END X-----",
        b"-----BEGIN PRIVATE KEY-----AAAA",
        _ENCRYPTED,
        b"PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nComment: x\nPublic-Lines: 1\nAAAA\n",
        b"\x30\x82\x00\x00",
        b"ssh-ed25519 AAAA",
        b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
    ),
)
