"""Violations on disk: each is made as small as it can be and still break a rule, and can be repeated from its file."""

from __future__ import annotations

import ast
import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from tests.fuzz import campaign, poison
from tests.fuzz.campaign import Mutant, Poison, Violation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.fuzz.memory import World
    from tests.fuzz.node import Node

_TRIES: Final = 2_000  # a minute at most


async def faults_of(world: World, node: Node | None, mutant: Mutant | Poison) -> tuple[str, ...]:
    """Send one mutant and return what is wrong with what came of it."""
    await world.forget_streams()
    if isinstance(mutant, Poison):
        tally = await poison.run(world, node, [mutant])
    else:
        tally = await campaign.run(world, node, [mutant])
    return tuple(fault for violation in tally.violations for fault in violation.faults)


async def smallest(world: World, node: Node | None, found: Violation) -> Violation:
    """Return a mutant with as few pieces and bytes as break a rule still; the same one where it can't be repeated."""

    async def breaks(mutant: Mutant | Poison) -> bool:
        return bool(await faults_of(world, node, mutant))

    mutant = found.mutant
    if not await breaks(mutant):
        return found
    joined = replace(mutant, pieces=(b"".join(mutant.pieces),))
    if await breaks(joined):
        mutant = joined
    mutant = await fewer_bytes(mutant, breaks)
    return Violation(mutant, await faults_of(world, node, mutant))


async def fewer_bytes(mutant: Mutant | Poison, breaks: Callable[[Mutant | Poison], Awaitable[bool]]) -> Mutant | Poison:
    """Take bytes away, many at a time, then one by one, as long as it breaks."""
    tries = 0
    size = max(map(len, mutant.pieces)) // 2
    while size and tries < _TRIES:
        smaller = False
        for number in range(len(mutant.pieces)):
            at = 0
            while at < len(mutant.pieces[number]) and tries < _TRIES:
                piece = mutant.pieces[number]
                pieces = (*mutant.pieces[:number], piece[:at] + piece[at + size :], *mutant.pieces[number + 1 :])
                tries += 1
                if any(pieces) and await breaks(replace(mutant, pieces=pieces)):
                    mutant, smaller = replace(mutant, pieces=pieces), True
                else:
                    at += size
        if not smaller or size > 1:
            size //= 2
    return replace(mutant, pieces=tuple(piece for piece in mutant.pieces if piece))


def write(folder: Path, found: Violation) -> Path:
    """Keep a violation; returns the file, whose name is made of what is in it."""
    mutant = found.mutant
    content = {
        "part": "responses" if isinstance(mutant, Poison) else "requests",
        **(
            {"asked": repr(mutant.asked), "end": mutant.end}
            if isinstance(mutant, Poison)
            else {"door": mutant.door, "at_once": mutant.at_once}
        ),
        "pieces": [repr(piece) for piece in mutant.pieces],
        "faults": list(found.faults),
    }
    text = json.dumps(content, indent=1) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{content['part']}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"
    file.write_text(text, encoding="utf-8")
    return file


def read(file: Path) -> Mutant | Poison:
    """Return the mutant that was kept in a file."""
    content = json.loads(file.read_text(encoding="utf-8"))
    pieces = tuple(ast.literal_eval(piece) for piece in content["pieces"])
    if content["part"] == "responses":
        return Poison(ast.literal_eval(content["asked"]), pieces, content["end"])
    return Mutant(content["door"], pieces, content["at_once"])
