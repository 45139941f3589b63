"""Proof Key for Code Exchange (RFC 7636): whoever redeems a code has to be the one who asked for it. Pure."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Literal

from proxy.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable


def verifier(entropy: Callable[[int], bytes]) -> Secret:
    """Return a code verifier of 256 bits in 43 characters (RFC 7636 §4.1)."""
    return Secret(_text(entropy(32)))


def challenge(code_verifier: Secret, method: Literal["S256", "plain"]) -> str:
    """Return the code challenge (RFC 7636 §4.2); `plain` is the verifier itself, as the method wants it."""
    text = code_verifier.reveal()
    return text if method == "plain" else _text(hashlib.sha256(text.encode("ascii")).digest())


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
