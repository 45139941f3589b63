"""Cut responses as the HTTP clients of applications take them: http.client of Python, curl, node:http and fetch.

Two of them are blind to something without any proxy, and are not asked about it: http.client (3.11) takes a 103 for the
final response, and Node 20 takes a reset for the end of a body that ends with its stream.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.nightly.cut_stage import Door, cutting_stage
from tests.nightly.cuts import Cutter
from tests.support.deadline import awaiting
from tests.support.figures import Figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.nightly.cut_shapes import Shape
    from tests.nightly.cut_stage import Entrance
    from tests.nightly.cuts import Cut

CLIENTS: Final = ("http.client", "curl", "node")
_PATIENCE: Final = 120.0  # seconds, of a run of node through all of its part
_PROGRAM: Final = Path(__file__).parent / "cut_client.mjs"


@dataclass
class _Taken:
    """What one client took the responses for."""

    asked: int = 0
    hidden: list[str] = field(default_factory=list)

    def note(self, cut: Cut, *, whole: bool, own: bool) -> None:
        self.asked += 1
        if whole and not own:
            self.hidden.append(str(cut))


async def cut_for_clients(folder: Path, cuts: Sequence[Cut], each: int, seed: int) -> list[Figure]:
    """Cut `each` responses for each of the clients."""
    chance = random.Random(seed)
    chosen = {name: _chosen(name, cuts, each, chance) for name in CLIENTS}
    rows: list[Figure] = []
    async with cutting_stage(folder) as entrance:
        cutter = Cutter([cut for part in chosen.values() for cut in part])
        for case in entrance.cases.values():
            case.upstream.always(cutter)
        for name, part in chosen.items():
            taken = _Taken()
            await _ASK[name](entrance, part, taken)
            rows.append(
                Figure(
                    f"of {taken.asked:,} responses cut for {name}: taken for whole", str(len(taken.hidden)), "0",
                    taken.asked > 0 and not taken.hidden,
                )
            )  # fmt: skip
    return rows


def _chosen(name: str, cuts: Sequence[Cut], count: int, chance: random.Random) -> list[Cut]:
    fitting = [cut for cut in cuts if _can_be_asked(cut) and not _is_blind(name, cut.shape)]
    return chance.sample(fitting, min(count, len(fitting)))


def _can_be_asked(cut: Cut) -> bool:
    shape = cut.shape
    plain = shape.connection != "replayed" and shape.version == b"1.1" and not shape.fields
    return plain and cut.door is Door.REVERSE and not cut.nobody_sees


def _is_blind(name: str, shape: Shape) -> bool:
    return (name == "node" and shape.until_close) or (name == "http.client" and b" 103 " in shape.raw)


def _path(entrance: Entrance, cut: Cut) -> str:
    case = entrance.case(cut.shape.connection, cut.door, tls=cut.tls)
    return (case.prefix + b"/cut/%d" % cut.number).decode()


def _url(entrance: Entrance, cut: Cut) -> str:
    host, port = entrance.stage.process.reverse
    return f"http://{host}:{port}{_path(entrance, cut)}"


async def _by_http_client(entrance: Entrance, cuts: list[Cut], taken: _Taken) -> None:
    def ask(cut: Cut) -> tuple[bool, bool]:
        stream = http.client.HTTPConnection(*entrance.stage.process.reverse, timeout=20)
        try:
            stream.request(cut.shape.method.decode(), _path(entrance, cut))
            response = stream.getresponse()
            own = "error=" in response.headers.get("Proxy-Status", "")
            response.read()
        except (http.client.HTTPException, ConnectionError):
            return False, False
        finally:
            stream.close()
        return True, own

    for cut in cuts:
        whole, own = await asyncio.to_thread(ask, cut)
        taken.note(cut, whole=whole, own=own)


async def _by_curl(entrance: Entrance, cuts: list[Cut], taken: _Taken) -> None:
    for cut in cuts:
        how = ["--head"] if cut.shape.method == b"HEAD" else ["--include"]
        said, status = await _run("curl", "--silent", "--noproxy", "*", *how, _url(entrance, cut))
        taken.note(cut, whole=status == 0, own=b"\nproxy-status: iclient-proxy; error=" in said.lower())


async def _by_node(entrance: Entrance, cuts: list[Cut], taken: _Taken) -> None:
    asked = [(_url(entrance, cut), cut.shape.method.decode()) for cut in cuts]
    said, status = await _run("node", str(_PROGRAM), json.dumps(asked))
    assert status == 0, said
    for cut, ways in zip(cuts, json.loads(said), strict=True):
        for way in ways:
            taken.note(cut, **way)


async def _run(*words: str) -> tuple[bytes, int]:
    running = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    async with awaiting(f"the end of {words[0]}", _PATIENCE):
        said, _ = await running.communicate()
    assert running.returncode is not None
    return said, running.returncode


_ASK: Final = {"http.client": _by_http_client, "curl": _by_curl, "node": _by_node}
