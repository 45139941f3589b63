"""Known secrets are taken out of a rendered line by value, in every spelling they are likely to have there.

One of the few places that reveal a `Secret`: to look for it.
"""

from __future__ import annotations

import base64
import json
import re
import weakref
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, quote_plus

from proxy.secret import living

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from proxy.secret import Secret

MASK: Final = b"***"
# Shorter secrets are words that occur anyway: masking them would shred the log and give them away.
SHORTEST: Final = 8
# What URL libraries leave as it is: nothing, path separators, what `encodeURIComponent` leaves, sub-delimiters of
# RFC 3986 §2.2.
_LEFT_ALONE: Final = ("", "/", "!'()*", "!$'()*,/:;?@", "!$&'()*+,;=:@/?")
_HEX_PAIR: Final = re.compile(r"%[0-9A-F]{2}")


def forms(text: str) -> frozenset[bytes]:
    """Return the spellings of a secret: as it is, percent-encoded, JSON-escaped, `repr`, and within base64.

    Empty when the secret is too short to be looked for. Every form has at least 8 bytes.
    """
    if len(text) < SHORTEST:
        return frozenset()
    plain = text.encode("utf-8", "surrogatepass")
    form_encoded = {quote_plus(plain), quote_plus(plain, safe="*").replace("~", "%7E")}  # the second: as browsers do
    encoded = {quote(plain, safe=safe) for safe in _LEFT_ALONE} | form_encoded
    encoded |= {_HEX_PAIR.sub(lambda pair: pair[0].lower(), spelling) for spelling in encoded}
    escaped = {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1], repr(plain)[2:-1]}
    escaped |= {json.dumps(spelling)[1:-1] for spelling in escaped}
    texts = {plain} | {spelling.encode("utf-8", "surrogatepass") for spelling in encoded | escaped}
    # RFC 6749 §2.3.1: Basic credentials are form-encoded first, so that spelling may stand within base64 too.
    within = {plain} | {spelling.encode() for spelling in form_encoded}
    return frozenset(texts | {form for inner in within for form in _base64(inner)})


def _base64(inner: bytes) -> Iterator[bytes]:
    """Yield what of `inner` is certain in base64, wherever it begins in the encoded text, in both alphabets."""
    for offset in range(3):
        first = (offset * 8 + 5) // 6
        last = (offset + len(inner)) * 8 // 6
        text = base64.b64encode(bytes(offset) + inner)[first:last]
        yield text
        yield text.translate(bytes.maketrans(b"+/", b"-_"))


class Redactor:
    """Replaces every living secret in a line.

    An index of the first eight bytes of each form finds candidates in one pass over the line, so the time a line
    takes does not grow with the number of connections; no whole secret is kept here.
    """

    def __init__(self, secrets: Callable[[], Iterable[Secret]] = living) -> None:
        self._secrets = secrets
        self._known: dict[int, weakref.ref[Secret]] = {}
        # Lists: references to equal secrets are equal, and a set would keep only the first that dies.
        self._starts: dict[bytes, list[weakref.ref[Secret]]] = {}
        self._added = 0

    def __call__(self, line: bytes) -> bytes:
        """Return `line` with `***` where a secret stood."""
        self._learn()
        starts = self._starts
        windows = (line[i : i + SHORTEST] for i in range(len(line) - SHORTEST + 1))
        if starts.keys().isdisjoint(windows):
            return line
        suspects = {
            id(secret): secret
            for i in range(len(line))
            for ref in starts.get(line[i : i + SHORTEST], ())
            if (secret := ref()) is not None
        }
        found = {form for secret in suspects.values() for form in forms(secret.reveal())}
        for form in sorted(found, key=len, reverse=True):
            line = line.replace(form, MASK)
        return line

    def _learn(self) -> None:
        alive = 0
        for secret in self._secrets():
            alive += 1
            known = self._known.get(id(secret))
            if known is None or known() is not secret:
                self._add(secret)
        if self._added > 2 * alive + 64:
            # Mostly secrets that are gone: begin anew. What is known does not tell: a new secret may have the id of one
            # that is gone, as each token has that is made where the one before was.
            self._known.clear()
            self._starts.clear()
            self._added = 0
            for secret in self._secrets():
                self._add(secret)

    def _add(self, secret: Secret) -> None:
        self._added += 1
        ref = self._known[id(secret)] = weakref.ref(secret)
        for form in forms(secret.reveal()):
            self._starts.setdefault(form[:SHORTEST], []).append(ref)
