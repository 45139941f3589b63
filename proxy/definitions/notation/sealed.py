"""Sealed values: `{sealed: "…"}`, and where the keys come from that open them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxy.sealing import Keyring

KEY: Final = "ICLIENT_PROXY_KEY"
KEY_FILE: Final = "ICLIENT_PROXY_KEY_FILE"
# What a value is sealed for: a grant of a store does not open in its place, nor the other way round.
PURPOSE: Final = "definitions"


def keys(environ: Mapping[str, str], read: Callable[[str], str]) -> Secret:
    """Return the keys as they are written in the environment, or in the file that it names; `read` returns its text.

    Raises `SealError` (`sealed_key_missing`, `sealed_key_invalid`) and what `read` raises.
    """
    from proxy.sealing import SealError

    text, path = environ.get(KEY), environ.get(KEY_FILE)
    if text and path:
        raise SealError("sealed_key_invalid", f"both {KEY} and {KEY_FILE} are set; keep one")
    if path:
        return Secret(read(path))
    if not text:
        raise SealError("sealed_key_missing", f"there is no key for sealed values: set {KEY} or {KEY_FILE}")
    return Secret(text)


def keyring(environ: Mapping[str, str], read: Callable[[str], str]) -> Keyring:
    """Return the keys that the environment holds or names a file for; `read` returns the text of that file.

    Raises `SealError` and what `read` raises.
    """
    # It loads cryptography, which definitions without a sealed value do without.
    from proxy.sealing import Keyring

    return Keyring.of(keys(environ, read))
