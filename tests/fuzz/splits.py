"""The same bytes cut at every offset: wherever packets end, the same whole requests have to reach the upstreams."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.fuzz.campaign import Mutant, Requests, Tally, Violation, judged
from tests.fuzz.corpus import GOOD, HOSTILE
from tests.fuzz.mutators import to_forward
from tests.fuzz.oracles import h11_requests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fuzz.memory import World
    from tests.fuzz.readings import Message
    from tests.fuzz.verdict import Outcome

_LONG = 1000  # bytes; what is longer is so by repetition


def streams() -> Iterator[Mutant]:
    """Yield every good request with its successor behind it, for both listeners, and every hostile one."""
    for first, second in zip(GOOD, (*GOOD[1:], GOOD[0]), strict=True):
        yield Mutant("reverse", (first + second,))
        yield Mutant("forward", (to_forward(first + second),))
    for many in HOSTILE.values():
        for each in many:
            if len(each) < _LONG:
                yield Mutant("reverse", (each,))


async def run(world: World, step: int = 1) -> Tally:
    """Cut each stream at every `step`th offset, beginning with another one each time."""
    tally = Tally()
    sender = Requests(world)
    for number, mutant in enumerate(streams()):
        whole = await sender.send(mutant)
        faults, _ = judged(tally, whole)
        data = mutant.pieces[0]
        _note(tally, mutant, faults)
        wanted = _messages(whole)
        for at in range(1 + number % step, len(data), step):
            cut = replace(mutant, pieces=(data[:at], data[at:]))
            outcome = await sender.send(cut)
            faults, _ = judged(tally, outcome)
            if _messages(outcome) != wanted:
                faults.append(f"cut at {at}, other requests are forwarded")
            _note(tally, cut, faults)
            if faults:
                await sender.recover()
    return tally


def _note(tally: Tally, mutant: Mutant, faults: list[str]) -> None:
    if faults:
        tally.violations.append(Violation(mutant, tuple(faults)))


def _messages(outcome: Outcome) -> list[tuple[str, Message]]:
    return [(heard.name, message) for heard in outcome.heard for message in h11_requests(heard.data).messages]
