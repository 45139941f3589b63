"""The token's place in a request: a header line or a query parameter, replaced and never joined. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote_to_bytes

if TYPE_CHECKING:
    from proxy.access_token import AccessToken
    from proxy.definitions.models import HeaderPlacement, QueryPlacement


class HeaderInjector:
    """Puts the token into a header: `line` is the whole line for the last token, made once per token."""

    __slots__ = ("_last", "_line", "_name", "_scheme", "name")

    def __init__(self, placement: HeaderPlacement) -> None:
        self.name = placement.name.lower().encode()
        self._name = placement.name.encode()
        self._scheme = f"{placement.scheme} ".encode() if placement.scheme else b""
        self._last: AccessToken | None = None
        self._line = b""

    def line(self, token: AccessToken) -> bytes:
        r"""Return `Name: scheme token\\r\\n`."""
        if token is not self._last:
            self._line = self._name + b": " + self._scheme + token.value.reveal().encode() + b"\r\n"
            self._last = token
        return self._line


class QueryInjector:
    """Puts the token into a query parameter."""

    __slots__ = ("_name",)

    def __init__(self, placement: QueryPlacement) -> None:
        self._name = placement.name.encode()

    def occurs(self, target: bytes) -> bool:
        """Whether the target brings the parameter already."""
        _, _, query = target.partition(b"?")
        return any(self._is_it(part) for part in _PARTS.findall(query))

    def target(self, target: bytes, token: AccessToken) -> bytes:
        """Return the target without any occurrence of the parameter, and ours at its end.

        Names are compared decoded and exactly; every other byte of the query stays.
        """
        path, mark, query = target.partition(b"?")
        kept = b""
        if mark:
            pieces = _PARTS.findall(query)
            if any(self._is_it(piece) for piece in pieces):
                kept = b"".join(piece for piece in pieces if not self._is_it(piece)).rstrip(b"&;")
            else:
                kept = query
        parameter = quote(self._name, safe="").encode() + b"=" + quote(token.value.reveal(), safe="").encode()
        return path + b"?" + (kept + b"&" if kept else b"") + parameter

    def _is_it(self, piece: bytes) -> bool:
        name, _, _ = piece.rstrip(b"&;").partition(b"=")
        return unquote_to_bytes(name.replace(b"+", b" ")) == self._name


# A parameter with the separator behind it; `;` separates for some servers, so it does for us.
_PARTS: Final = re.compile(rb"[^&;]+[&;]?|[&;]")

Injector = HeaderInjector | QueryInjector
