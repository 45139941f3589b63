"""How bytes of HTTP are spoilt: pure functions of a random source and bytes; a number is enough to repeat one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tests.fuzz.corpus import (
    GOOD,
    HOSTILE,
    HOSTILE_RESPONSES,
    POISON,
    REQUEST_LINES,
    RESPONSE_LINES,
    RESPONSES,
)
from tests.fuzz.memory import PORTS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    Mutator = Callable[[Random, bytes], bytes]

_ODD: Final = (
    b"\r", b"\n", b"\r\n", b"\x00", b" ", b"\t", b"\x0b", b"\x0c", b"\x7f", b"\x80", b"\x85", b"\xa0", b"\xff", b":",
    b",", b";", b"=", b'"', b"_", b"-", b"#", b"?", b"/", b"\\", b"%0d%0a", b"0", b"1", b"a", b"\r\n\r\n", b"\r\n ",
    b"\n\n",
)  # fmt: skip
_WORD: Final = re.compile(rb"[^\x00-\x20:,;=\x7f]+")
_LINE_END: Final = re.compile(rb"\r\n")
_SIZE_LINE: Final = re.compile(rb"(?<=\r\n)[0-9A-Fa-f]{1,8}[^\r\n]{0,20}\r\n")
_FIELD_LINE: Final = re.compile(rb"(?<=\r\n)[!-9;-~]+:[^\r\n]*\r\n")


def flips(random: Random, data: bytes) -> bytes:
    """Change one bit."""
    at = random.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << random.randrange(8))]) + data[at + 1 :]


def inserts(random: Random, data: bytes) -> bytes:
    """Put in something odd, somewhere."""
    at = random.randrange(len(data) + 1)
    return data[:at] + random.choice(_ODD) + data[at:]


def replaces(random: Random, data: bytes) -> bytes:
    """Write something odd over a byte."""
    at = random.randrange(len(data))
    return data[:at] + random.choice(_ODD) + data[at + 1 :]


def deletes(random: Random, data: bytes) -> bytes:
    """Take out a byte, or a few."""
    at = random.randrange(len(data))
    return data[:at] + data[at + random.choice((1, 1, 1, 2, 4, 16)) :]


def swaps_words(random: Random, data: bytes) -> bytes:
    """Have two words change places: a value becomes a name, a length a method."""
    words = list(_WORD.finditer(data))
    if len(words) < 2:
        return data
    first, second = sorted(random.sample(words, 2), key=lambda word: word.start())
    return b"".join(
        (data[: first.start()], second[0], data[first.end() : second.start()], first[0], data[second.end() :])
    )


def copies_word(random: Random, data: bytes) -> bytes:
    """Write one word over another."""
    words = list(_WORD.finditer(data))
    if len(words) < 2:
        return data
    here, there = random.sample(words, 2)
    return data[: here.start()] + there[0] + data[here.end() :]


def spoils_line_end(random: Random, data: bytes) -> bytes:
    """Make one CRLF something else."""
    end = _any(random, _LINE_END, data)
    return (
        data if end is None else _over(data, end, random.choice((b"\n", b"\r", b"\r\r\n", b"\n\r", b"", b"\r\n\r\n")))
    )


def spoils_field(random: Random, data: bytes) -> bytes:
    """Bend the grammar of one field line."""
    line = _any(random, _FIELD_LINE, data)
    if line is None:
        return data
    name, _, value = line[0][:-2].partition(b":")
    bent = random.choice(
        (
            name + b" :" + value, name + b"\t:" + value, name + value, name + b"::" + value, b" " + name + b":" + value,
            name + b":\r\n " + value, name + b":" + value + b"\r\n\tmore", name + b":" + value + b" \t",
            name.swapcase() + b":" + value, name.replace(b"-", b"_") + b":" + value, name + b"_:" + value,
            name + b":\x00" + value, name + b":" + value + b"\x0b", name + b":\xa0" + value.strip(), name + b":",
            b"\xef\xbb\xbf" + name + b":" + value, name + b":" + value + b"," + value, name + b"\x00:" + value,
            name + b":" + value + b"\n" + name + b":" + value, name + b":\r" + value,
        )
    )  # fmt: skip
    return _over(data, line, bent + random.choice((b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r")))


def doubles_field(random: Random, data: bytes) -> bytes:
    """Write one field line a second time."""
    line = _any(random, _FIELD_LINE, data)
    return data if line is None else _over(data, line, line[0] * 2)


def moves_field(random: Random, data: bytes) -> bytes:
    """Put one field line in another place, perhaps in another message."""
    line, place = _any(random, _FIELD_LINE, data), _any(random, _LINE_END, data)
    if line is None or place is None or line.start() <= place.start() < line.end():
        return data
    if place.end() <= line.start():
        return data[: place.end()] + line[0] + data[place.end() : line.start()] + data[line.end() :]
    return data[: line.start()] + data[line.end() : place.end()] + line[0] + data[place.end() :]


def drops_field(random: Random, data: bytes) -> bytes:
    """Take out one field line."""
    line = _any(random, _FIELD_LINE, data)
    return data if line is None else _over(data, line, b"")


def bends_chunk(random: Random, data: bytes) -> bytes:
    """Bend the grammar of one chunk size."""
    line = _any(random, _SIZE_LINE, data)
    if line is None:
        return data
    digits = re.match(rb"[0-9A-Fa-f]+", line[0])
    size = int(digits[0], 16) if digits is not None else 0
    bent = random.choice(
        (
            b"%x" % (size + 1), b"%x" % max(0, size - 1), b"%X" % size, b"0%x" % size, b"0x%x" % size, b"+%x" % size,
            b"-%x" % size, b" %x" % size, b"%x " % size, b"%x;" % size, b"%x;a" % size, b'%x;a="\r\n"' % size,
            b'%x;a="b;c"' % size, b"%x;a\n" % size, b"%x\x00" % size, b"%x0" % size, b"ffffffffffffffff%x" % size,
            b"%x;" % size + b"x" * 5000, b"0", b"", b"%d" % size, b"%016x" % size, b"1%016x" % size,
        )
    )  # fmt: skip
    return _over(data, line, bent + random.choice((b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\r\n")))


def cuts_off(random: Random, data: bytes) -> bytes:
    """End somewhere."""
    return data[: random.randrange(1, len(data) + 1)]


def _any(random: Random, pattern: re.Pattern[bytes], data: bytes) -> re.Match[bytes] | None:
    found = list(pattern.finditer(data))
    return random.choice(found) if found else None


def _over(data: bytes, match: re.Match[bytes], new: bytes) -> bytes:
    return data[: match.start()] + new + data[match.end() :]


def _puts_in(lines: Sequence[bytes]) -> Mutator:
    def puts_in(random: Random, data: bytes) -> bytes:
        """Put in a line that somebody acts on."""
        end = _any(random, _LINE_END, data)
        return data if end is None else _over(data, end, b"\r\n" + random.choice(lines) + b"\r\n")

    return puts_in


def _splices(others: Sequence[bytes]) -> Mutator:
    def splices(random: Random, data: bytes) -> bytes:
        """Put another message somewhere."""
        at = random.randrange(len(data) + 1)
        return data[:at] + random.choice(others) + data[at:]

    return splices


_ANY: Final[tuple[Mutator, ...]] = (
    flips, inserts, inserts, replaces, deletes, swaps_words, swaps_words, copies_word, spoils_line_end, spoils_field,
    spoils_field, doubles_field, moves_field, drops_field, bends_chunk, bends_chunk, cuts_off,
)  # fmt: skip
_HOSTILE: Final = tuple(each for many in HOSTILE.values() for each in many if len(each) < 1000)
_HOSTILE_RESPONSES: Final = tuple(each for many in HOSTILE_RESPONSES.values() for each in many)
OF_REQUESTS: Final = (*_ANY, _puts_in(REQUEST_LINES), _puts_in(REQUEST_LINES), _splices(GOOD))
OF_RESPONSES: Final = (*_ANY, _puts_in(RESPONSE_LINES), _puts_in(RESPONSE_LINES), _splices((*RESPONSES, POISON)))


def requests(random: Random, door: str = "reverse", own: Callable[[bytes], bytes] = bytes) -> bytes:
    """Return what a client may send to that listener: one to three requests, spoilt up to four times.

    `own` makes requests to connections of other names of those of the corpus, before they are spoilt.
    """
    pieces = [random.choice(_HOSTILE if random.random() < 0.15 else GOOD) for _ in range(random.choice((1, 1, 2, 3)))]
    sent = b"".join(pieces)
    return _spoilt(random, own(to_forward(sent) if door == "forward" else sent), OF_REQUESTS)


def to_forward(requests: bytes) -> bytes:
    """Return the same requests as a client sends them to a proxy: the target names the upstream."""
    for name, port in PORTS.items():
        requests = requests.replace(b" /%b/" % name.encode(), b" http://127.0.0.1:%d/" % port)
    return requests


def response(random: Random) -> bytes:
    """Return what an upstream may answer to one request: one response, at times with another behind it, spoilt."""
    first = random.choice(_HOSTILE_RESPONSES if random.random() < 0.15 else RESPONSES)
    behind = random.choice((b"", b"", b"", POISON, random.choice(RESPONSES)))
    return _spoilt(random, first + behind, OF_RESPONSES)


def spoilt(random: Random, data: bytes) -> bytes:
    """Return any bytes, spoilt up to four times by what knows of no message."""
    return _spoilt(random, data or b"\0", _ANY)


def _spoilt(random: Random, data: bytes, mutators: Sequence[Mutator]) -> bytes:
    for _ in range(random.choice((0, 1, 1, 1, 2, 2, 3, 4))):
        data = random.choice(mutators)(random, data) or data
    return data


def cuts(random: Random, data: bytes) -> tuple[bytes, ...]:
    """Return the bytes in the pieces in which they arrive: mostly one, at times a few, at times one a byte."""
    way = random.random()
    if way < 0.5 or len(data) < 2:
        return (data,)
    if way < 0.55 and len(data) < 600:
        return tuple(data[at : at + 1] for at in range(len(data)))
    places = sorted({random.randrange(1, len(data)) for _ in range(random.choice((1, 1, 2, 4)))})
    return tuple(data[begin:end] for begin, end in zip((0, *places), (*places, len(data)), strict=True))
