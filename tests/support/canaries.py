"""Canaries: random words in the place of secrets, and a search that knows them in every dress. Pure.

A word is 40 characters long. Any 12 characters of it in a row are a hit: as they are, reversed, in hexadecimal, within
Base64 wherever it begins, percent-encoded once or twice, escaped as in JSON or in `repr`. So a secret that was cut is
found, too. `spelled` writes a word in each of these ways: what a search has to find before its silence counts.
"""

from __future__ import annotations

import base64
import json
import re
import string
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Iterator

LENGTH: Final = 40
# Of a secret; twelve letters and digits have 71 bits, so that none of them is met by chance.
GRAM: Final = 12
_PIECE: Final = 1 << 22  # bytes looked at in one go
_PLAIN: Final = string.ascii_letters + string.digits
# What is written differently in URLs, JSON and Base64 than elsewhere; between plain ends, so that each end is found.
_ODD: Final = "+/=&%\"\\ ~'<"
_RUN: Final = re.compile(rb"[A-Za-z0-9]{%d,}" % GRAM)
_PERCENT: Final = re.compile(rb"%(?:25)*([0-9A-Fa-f]{2})")
_ESCAPE: Final = re.compile(rb"(?<!\\)\\+(?:u00|x)([0-9A-Fa-f]{2})")


@dataclass(frozen=True)
class Canary:
    """One word and the place where it stands as a secret."""

    name: str
    text: str


@dataclass(frozen=True)
class Hit:
    """Where a word was found: whose it is, in which dress, and what stands around it."""

    name: str
    dress: str
    around: bytes


def canary(name: str, entropy: random.Random, *, odd: bool = False) -> Canary:
    """Return a new word for the place `name`; an `odd` one has quotes, spaces and the like in its middle."""
    middle = _ODD if odd else _PLAIN
    side = GRAM + 2
    text = "".join(entropy.choices(_PLAIN, k=side) + entropy.choices(middle, k=LENGTH - 2 * side))
    return Canary(name, text + "".join(entropy.choices(_PLAIN, k=side)))


def spelled(text: str) -> dict[str, bytes]:
    """Return the word in every dress that `Scanner` promises to know."""
    raw = text.encode()
    full = "".join(f"%{byte:02X}" for byte in raw)
    every_second = "".join(f"%{byte:02x}" if i % 2 else chr(byte) for i, byte in enumerate(raw))
    return {
        "as it is": raw,
        "percent-encoded": full.encode(),
        "percent-encoded here and there": every_second.encode(),
        "percent-encoded twice": full.replace("%", "%25").encode(),
        "Base64": base64.b64encode(raw),
        "Base64, one byte later": base64.b64encode(b":" + raw + b"!"),
        "Base64, two bytes later": base64.b64encode(b"a:" + raw),
        "Base64 for URLs": base64.urlsafe_b64encode(raw).rstrip(b"="),
        "hexadecimal": raw.hex().encode(),
        "hexadecimal, upper case": raw.hex().upper().encode(),
        "JSON": json.dumps(text).encode(),
        "JSON, escaped": "".join(f"\\u{byte:04x}" for byte in raw).encode(),
        "JSON in JSON, escaped": json.dumps("".join(f"\\u{byte:04x}" for byte in raw)).encode(),
        "repr, escaped": "".join(f"\\x{byte:02x}" for byte in raw).encode(),
        "reversed": raw[::-1],
        "its first twelve": raw[:GRAM],
        "its last twelve": raw[-GRAM:],
    }


class Scanner:
    """Finds any of the words; the time that it takes does not depend on how many there are."""

    def __init__(self, canaries: Iterable[Canary]) -> None:
        self._grams: dict[bytes, tuple[str, str]] = {}
        self.names: set[str] = set()
        for each in canaries:
            self.add(each)

    def add(self, found: Canary) -> None:
        """Look for this word, too: a state or a cookie is known only once the proxy has made it."""
        self.names.add(found.name)
        for dress, text in _dresses(found.text.encode()):
            for gram in _grams(text):
                self._grams.setdefault(gram, (found.name, dress))

    def scan(self, data: bytes) -> list[Hit]:
        """Return what was found; none is good news only for who has seen `spelled` words found."""
        hits: list[Hit] = []
        for piece in _pieces(data):
            hits += self._look(piece, "")
            hits += self._decoded(piece, b"%", _PERCENT, "percent-encoded, ")
            hits += self._decoded(piece, b"\\", _ESCAPE, "escaped, ")
        return hits

    def _decoded(self, piece: bytes, mark: bytes, codes: re.Pattern[bytes], how: str) -> list[Hit]:
        """Look once more at the lines that hold what decoding changes."""
        if mark not in piece:
            return []
        decoded = b"\n".join(line for line in piece.split(b"\n") if mark in line)
        return self._look(codes.sub(_byte, decoded), how)

    def _look(self, piece: bytes, how: str) -> list[Hit]:
        hits = []
        grams = self._grams
        for run in dict.fromkeys(_RUN.findall(piece)):  # most of them are in every line
            for at in range(len(run) - GRAM + 1):
                found = grams.get(run[at : at + GRAM])
                if found is not None:
                    begin = piece.index(run) + at
                    hits.append(Hit(found[0], how + found[1], piece[max(0, begin - 80) : begin + 80]))
                    break
        return hits


def _pieces(data: bytes) -> Iterator[bytes]:
    """Yield the data in pieces that end with a line, so that no word is cut in two; a long line is a piece."""
    at = 0
    while at < len(data):
        end = data.find(b"\n", at + _PIECE)
        end = len(data) if end < 0 else end + 1
        yield data[at:end]
        at = end


def _dresses(raw: bytes) -> Iterator[tuple[str, bytes]]:
    yield "as it is", raw
    yield "reversed", raw[::-1]
    yield "hexadecimal", raw.hex().encode()
    yield "hexadecimal", raw.hex().upper().encode()
    for offset in range(3):
        first = (offset * 8 + 5) // 6
        last = (offset + len(raw)) * 8 // 6
        text = base64.b64encode(bytes(offset) + raw)[first:last]
        yield "Base64", text
        yield "Base64 reversed", text[::-1]


def _grams(text: bytes) -> Iterator[bytes]:
    for run in _RUN.findall(text):
        for at in range(len(run) - GRAM + 1):
            yield run[at : at + GRAM]


def _byte(code: re.Match[bytes]) -> bytes:
    return bytes.fromhex(code[1].decode())


def assert_free(scanner: Scanner, surface: str, data: bytes, control: Canary) -> None:
    """Hold a surface to what it promises, and the search to what it promises of this very surface.

    `control` is a word that stands nowhere: it is planted into a copy of the data, in each dress, at the beginning, in
    the middle and at the end, and has to be found each time.
    """
    hits = scanner.scan(data)
    assert not hits, f"{surface} shows {hits[0].name} ({hits[0].dress}): {hits[0].around!r}, and {len(hits) - 1} more"
    planted = Scanner([control])
    assert not planted.scan(data), f"the control word stands in {surface}"
    tail = data[-4096:]
    for dress, word in spelled(control.text).items():
        for at in (0, len(tail) // 2, len(tail)):
            # Line ends around it: a letter beside it is no hiding place, but what it lands in may be one escape more.
            seen = planted.scan(tail[:at] + b"\n" + word + b"\n" + tail[at:])
            assert seen, f"a word planted in {surface} is not found: {dress}"
