"""What happened to refresh tokens at their server, and whether any of it may not have happened. Pure.

Three rules of the product are checked. A refresh token is used a second time only where the answer to its first use
can't have been stored, and never a third time. One that was refused is not used again. A grant is lost only where the
server had committed to a rotation whose answer never came that far.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence


class Kind(StrEnum):
    """What a server can tell of a refresh token."""

    ISSUED = "issued"  # the first of its family
    USED = "used"  # it came, within a whole request
    COMMITTED = "committed"  # it was exchanged for its successor
    ANSWERED = "answered"  # the successor was sent
    REFUSED = "refused"  # invalid_grant


@dataclass(frozen=True)
class Happened:
    """One line of the history: tokens are known by the family that grew from a seed, and by their generation.

    `at` is the server's time in seconds, `by` the replica that sent the request, where it says so.
    """

    kind: Kind
    family: str
    generation: int
    at: float = field(default=0.0, compare=False)
    by: str = field(default="", compare=False)


Token = tuple[str, int]


@dataclass(frozen=True)
class Verdict:
    """What a history comes to: uses, second uses, grants that were lost, and each thing that may not have happened."""

    uses: int
    repeated: int
    lost: int
    faults: tuple[str, ...]


def judge(history: Sequence[Happened], destroyed: Collection[Token]) -> Verdict:
    """Judge a history; `destroyed` are the tokens for whose use the answer was destroyed before it was stored."""
    lines: dict[str, list[Happened]] = defaultdict(list)
    for happened in history:
        lines[happened.family].append(happened)
    uses = repeated = lost = 0
    faults: list[str] = []
    for family, its in lines.items():
        used = [each.generation for each in its if each.kind is Kind.USED]
        uses += len(used)
        repeated += len(used) - len(set(used))
        gone = {generation for name, generation in destroyed if name == family}
        faults += [f"{family}: {fault}" for fault in _uses(its, gone)]
        refusals = [at for at, each in enumerate(its) if each.kind is Kind.REFUSED]
        if refusals:
            lost += 1
            generation = its[refusals[0]].generation
            if Happened(Kind.COMMITTED, family, generation) not in its or generation not in gone:
                faults.append(f"{family}: the grant was lost with {generation}, whose answer had come")
            faults += [f"{family}: {again} was used after it was refused" for again in _in_vain(its)]
    return Verdict(uses, repeated, lost, tuple(faults))


def _in_vain(its: Sequence[Happened]) -> Iterator[int]:
    refused: set[int] = set()
    for each in its:
        if each.kind is Kind.REFUSED:
            refused.add(each.generation)
        elif each.kind is Kind.USED and each.generation in refused:
            yield each.generation


def _uses(its: Sequence[Happened], destroyed: Collection[int]) -> Iterator[str]:
    times: Counter[int] = Counter()
    committed: set[int] = set()
    latest = 0
    for each in its:
        if each.kind is Kind.COMMITTED:
            committed.add(each.generation)
        if each.kind is not Kind.USED:
            continue
        times[each.generation] += 1
        if times[each.generation] > 2:
            yield f"{each.generation} was used {times[each.generation]} times"
        elif times[each.generation] == 2 and each.generation in committed - set(destroyed):
            yield f"{each.generation} was used again although its answer had come"
        if each.generation < latest:
            yield f"{each.generation} was used after {latest}"
        latest = max(latest, each.generation)
