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

from proxy.secret import SHORTEST, living

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from proxy.secret import Secret

    Found = list[tuple[int, int]]  # where it begins and ends
    Look = Callable[[bytes], Found]

MASK: Final = b"***"
# Whoever quotes a secret may shorten it, and so do we with long texts: the first twelve characters are masked, too.
SHORTENED: Final = 12
# What URL libraries leave as it is: nothing, path separators, what `encodeURIComponent` leaves, sub-delimiters of
# RFC 3986 §2.2.
_LEFT_ALONE: Final = ("", "/", "!'()*", "!$'()*,/:;?@", "!$&'()*+,;=:@/?")
_HEX_PAIR: Final = re.compile(r"%[0-9A-F]{2}")
# A byte that somebody wrote as a code though nothing asks for it: `%63`, `%2563`, `\u0063`, `\x63`.
_CODE: Final = re.compile(rb"(?:%(?:25)*|(?<!\\)\\+(?:u00|x))([0-9A-Fa-f]{2})")


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


def masked(text: bytes, look: Look) -> bytes:
    """Return `text` with `***` in place of what `look` finds, in the text itself or in what its codes stand for."""
    found = look(text)
    if b"%" in text or b"\\" in text:
        plain, places = _decoded(text)
        if places:
            found = found + [(places[begin], places[end]) for begin, end in look(plain)]
    return _cut(text, found)


def look_for(spellings: Iterable[bytes], beginnings: Iterable[bytes] = ()) -> Look:
    """Return what finds these spellings, also shortened ones; of `beginnings`, all that follows, too."""
    known: dict[bytes, list[bytes]] = {}
    for spelling in spellings:
        known.setdefault(spelling[:SHORTENED], []).append(spelling)
    first = tuple(beginnings)

    def look(text: bytes) -> Found:
        found: Found = [(at, len(text)) for beginning in first if (at := text.find(beginning)) >= 0]
        for beginning, whole in known.items():
            at = text.find(beginning)
            while at >= 0:
                found.append((at, at + max(_same(text, at, spelling) for spelling in whole)))
                at = text.find(beginning, at + 1)
        return found

    return look


def _same(text: bytes, at: int, spelling: bytes) -> int:
    """Return how many bytes of the spelling stand in the text from `at` on."""
    if text.startswith(spelling, at):
        return len(spelling)
    length = 0
    for ours, theirs in zip(spelling, text[at : at + len(spelling)], strict=False):
        if ours != theirs:
            break
        length += 1
    return length


def _cut(text: bytes, found: Found) -> bytes:
    """Put a mask in the place of each of these stretches; what overlaps gets one."""
    if not found:
        return text
    pieces = []
    at = 0
    for begin, end in sorted(found):
        if begin >= at:
            pieces += [text[at:begin], MASK]
        at = max(end, at)
    return b"".join((*pieces, text[at:]))


def _decoded(text: bytes) -> tuple[bytes, list[int]]:
    """Return the text with its codes as the bytes that they stand for, and where each of these began; none: no code."""
    plain = bytearray()
    places: list[int] = []
    at = 0
    for code in _CODE.finditer(text):
        plain += text[at : code.start()]
        plain.append(int(code[1], 16))
        places.extend(range(at, code.start() + 1))
        at = code.end()
    if not at:
        return text, []
    plain += text[at:]
    places.extend(range(at, len(text) + 1))
    return bytes(plain), places


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
        """Return `line` with `***` where a secret stood, or the beginning of one."""
        self._learn()
        return masked(line, self._look)

    def _look(self, line: bytes) -> Found:
        starts = self._starts
        windows = [line[i : i + SHORTEST] for i in range(len(line) - SHORTEST + 1)]
        if starts.keys().isdisjoint(windows):
            return []
        found: Found = []
        spellings: dict[int, frozenset[bytes]] = {}
        for at, window in enumerate(windows):
            for ref in starts.get(window, ()):
                secret = ref()
                if secret is None:
                    continue
                if id(secret) not in spellings:
                    spellings[id(secret)] = forms(secret.reveal())
                lengths = [
                    (_same(line, at, form), len(form)) for form in spellings[id(secret)] if form.startswith(window)
                ]
                length = max((same for same, whole in lengths if same >= min(whole, SHORTENED)), default=0)
                if length:
                    found.append((at, at + length))
        return found

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
        for start in {form[:SHORTEST] for form in forms(secret.reveal())}:
            self._starts.setdefault(start, []).append(ref)
