r"""Shapes of heads: the names of their fields, in order and as they are spelt, with any value behind each of them.

A client sends heads of a few shapes, and so does an upstream; only the values change. So the shape of a head that
passed is learned now and then: one regular expression for all of its lines, in which each name stands as it came, and
each value may hold what a value may hold. Whatever it matches needs no other reader: its names are those of a good
head, its values have no byte that they may not have, no line is folded, and it ends where the match ends. What the
lines that matter come to is not a matter of shapes: the match's groups are these lines, just as `names` finds them.
"""

from __future__ import annotations

import re
from typing import Final

# All that llhttp asks of a value, unless its line is one of those that matter (RFC 9110 §5.5). Possessive: where the
# next byte is not the CR, nothing shorter will do either.
_VALUE: Final = rb"[\t -~\x80-\xff]*+"
_MOST: Final = 64  # beginnings
_OF_ONE: Final = 2  # shapes of one beginning; some 5 KiB each
_SIZE_MAX: Final = 4096  # bytes of all lines
_FIELDS_MAX: Final = 64
# To learn one takes as long as to read 100 heads without. So it is done the later, the oftener it was done before, and
# where no two heads have the same shape, it is nearly never done.
_FIRST: Final = 64
_LAST: Final = 4096


class Shape:
    """One shape: `match` matches a head to its end, `fields` is how many lines it has.

    `method` is that of a request, `status` that of a response.
    """

    __slots__ = ("fields", "match", "method", "pattern", "status")

    def __init__(self, pattern: bytes, fields: int, method: bytes, status: int) -> None:
        self.pattern = pattern
        self.match = re.compile(pattern).match
        self.fields = fields
        self.method = method
        self.status = status


class Shapes:
    """The shapes known of one direction, by how heads begin; `matters` finds the lines that matter.

    `turn`: how many more heads have to pass until one is learned. Whoever reads heads counts it down: a call for each
    would cost more than all else here.
    """

    __slots__ = ("_matters", "_pause", "known", "turn")

    def __init__(self, matters: re.Pattern[bytes]) -> None:
        self.known: dict[bytes, tuple[Shape, ...]] = {}
        self.turn = self._pause = _FIRST
        self._matters = matters

    def learn(
        self, beginning: bytes, fields: bytes, *, start: bytes = b"", method: bytes = b"", status: int = 0
    ) -> None:
        r"""Learn the shape of a good head; `fields` are `\\r\\nA: 1\\r\\nB: 2\\r\\n\\r\\n`.

        `start` is an expression for what stands before them. Of one beginning the shapes that were learned last are
        known.
        """
        self._pause = min(2 * self._pause, _LAST)
        self.turn = self._pause
        _, *lines = fields[:-4].split(b"\r\n")
        if len(fields) > _SIZE_MAX or len(lines) > _FIELDS_MAX:
            return
        pattern = start + b"".join(self._line(line) for line in lines) + rb"\r\n\r\n"
        if len(self.known) >= _MOST and beginning not in self.known:
            self.known.clear()
        others = (shape for shape in self.known.get(beginning, ()) if shape.pattern != pattern)
        self.known[beginning] = (Shape(pattern, len(lines), method, status), *others)[:_OF_ONE]

    def _line(self, line: bytes) -> bytes:
        name = re.escape(line[: line.index(b":")])
        return (rb"\r(\n%b:%b)" if self._matters.match(b"\n" + line) else rb"\r\n%b:%b") % (name, _VALUE)
