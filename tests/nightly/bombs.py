"""Bodies that a rule has to read and that are made to cost: compression bombs, and documents that are hard to read."""

from __future__ import annotations

import gzip
import random
import zlib
from typing import TYPE_CHECKING, Final

import brotli
import zstandard

from tests.nightly.good_traffic import good_traffic
from tests.nightly.one_stage import Memory, by_target, cpu_seconds, one_case
from tests.support.client import Client
from tests.support.figures import Figure
from tests.support.scripts import replies, response

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stage import Case

BOMBS: Final = 100  # of each kind
_RULES: Final = [
    {"path": "error.code", "values": ["DEAD"]},
    {"path": "//*[local-name()='Fault']/faultcode", "values": ["DEAD"]},
]
_RAW: Final = 60_000  # bytes, below limits.inspect_raw
_DECODED: Final = 250_000  # bytes, below limits.inspect_decoded
_GROWTH: Final = 16  # MiB
_MS: Final = 50  # of CPU time, half of what may pass between two turns of the loop


def _deflated(data: bytes) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush()


def _members(data: bytes) -> bytes:
    member = gzip.compress(data, mtime=0)
    return member * (_RAW // len(member))


def _nested(levels: int, count: int) -> bytes:
    return b"[" + b",".join([b"[" * levels + b"]" * levels] * count) + b"]"


def _attributes(count: int) -> bytes:
    return b" ".join(b'a%d=""' % number for number in range(count))


def _coded(document: bytes) -> tuple[bytes, bytes]:
    """Return a document in gzip that is read, since what cannot be compressed keeps it below a hundred to one."""
    return b"gzip", gzip.compress(document.replace(b"PAD", random.Random(1).randbytes(2_000).hex().encode()))


def bodies() -> dict[str, tuple[bytes, bytes]]:
    """Return each kind: its content codings and the body."""
    zeros = bytes(24 << 20)  # more than any window
    brotlied = brotli.compress(zeros, quality=5, lgwin=22)
    return {
        "gzip": (b"gzip", gzip.compress(zeros)),
        "deflate": (b"deflate", zlib.compress(zeros)),
        "deflate without header": (b"deflate", _deflated(zeros)),
        "br": (b"br", brotlied),
        "br with the widest window": (b"br", brotli.compress(zeros, quality=5, lgwin=24)),
        "br four times": (b"br, br, br, br", brotlied),
        "zstd": (b"zstd", zstandard.compress(zeros)),
        "gzip in gzip": (b"gzip, gzip", gzip.compress(gzip.compress(zeros))),
        "thousands of gzip members": (b"gzip", _members(b"")),
        "JSON as deep as it may be": _coded(b'["PAD",' + _nested(62, _DECODED // 125) + b"]"),
        "JSON of nothing but brackets": _coded(b'["PAD",' + b"[" * _DECODED),
        "JSON of nothing but escapes": _coded(b'{"pad":"PAD","error":"' + b'\\"' * (_DECODED // 2 - 2_100) + b'"}'),
        "JSON of short strings": _coded(b'{"pad":"PAD","error":[' + b'"",' * (_DECODED // 3 - 1_500) + b"1]}"),
        "XML with 20,000 attributes": _coded(b'<a pad="PAD" ' + _attributes(20_000) + b"/>"),
        "XML with 240 elements and long text": _coded(
            b"<a>PAD" + b"<b>&lt;&lt;</b>" * 240 + b"&lt;" * 55_000 + b"</a>"
        ),
        "XML with entities": _coded(b'<!DOCTYPE a [<!ENTITY b "PAD">]><a>' + b"&b;" * 80_000 + b"</a>"),
    }


async def bombs(folder: Path, scale: float) -> list[Figure]:
    """Let upstreams answer with them (P-240, P-242)."""
    count = max(2, round(BOMBS * scale))
    kinds = bodies()
    scripts, found, unlike = {}, [], 0
    for number, (coding, body) in enumerate(kinds.values()):
        fields = (b"Content-Type: application/json", b"Content-Encoding: " + coding)
        scripts[b"/%d" % number] = replies(response(body, *fields, status=b"400 Bad Request"))
    async with one_case(folder, connection={"auth_errors": _RULES}) as case:
        process = case.stage.process
        case.upstream.always(by_target(scripts))
        worst = 0.0
        # What a first body of each kind has imported is there to stay.
        for number in range(len(kinds)):
            await case.ask(case.request(target=b"/%d" % number))
        memory = Memory(process)
        for number, (name, (_, body)) in enumerate(kinds.items()):
            before = cpu_seconds(process)
            unlike += await _ask(case, b"/%d" % number, body, count, memory)
            each = (cpu_seconds(process) - before) / count * 1000
            worst = max(worst, each)
            found.append(f"{name} ({len(body):,} bytes) {each:.1f}")
        async with good_traffic(case) as beside:
            for number, (_, body) in enumerate(kinds.values()):
                unlike += await _ask(case, b"/%d" % number, body, count, memory)
        renewed = case.token_requests - 1
    grown = memory.peak / (1 << 20)
    return [
        Figure(
            f"{count} bodies of each kind that are made to cost: ms of CPU for each at most; {'; '.join(found)}",
            f"{worst:.1f}", f"≤ {_MS}", worst <= _MS,
        ),
        Figure("MiB that the process grows by in them", f"{grown:.1f}", f"≤ {_GROWTH}", grown <= _GROWTH),
        Figure(
            "of them: not relayed as they came, or taken for an auth error", f"{unlike}, {renewed}", "0, 0",
            (unlike, renewed) == (0, 0),
        ),
        Figure(
            f"good requests beside them that fail, of {beside.sent:,} (slowest: {beside.quantile(1) * 1000:.0f} ms)",
            str(beside.failed), "0", not beside.failed,
        ),
    ]  # fmt: skip


async def _ask(case: Case, target: bytes, body: bytes, count: int, memory: Memory) -> int:
    """Ask so many times; return how often something else came than what was sent."""
    client = await Client.connect(case.stage.process.reverse)
    unlike = 0
    for _ in range(count):
        answered = await client.ask(case.request(target=target))
        unlike += (answered.status, answered.body) != (400, body)
        memory.look()
    await client.close()
    return unlike
