"""The catalogue as data: its groups, what is struck, what is otherwise than it was written down."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CASES: Final = Path(__file__).with_name("cases.toml")
LETTERS: Final = "CTRDPFWLSA"


@dataclass(frozen=True)
class Group:
    """Cases of one letter; `about` is what holds for all of them."""

    letter: str
    title: str
    about: str
    cases: Mapping[str, str]


@dataclass(frozen=True)
class Catalogue:
    """Every number with its sentence; `struck`, `mended` and `alone` map numbers, or names of tests, to reasons."""

    groups: tuple[Group, ...]
    struck: Mapping[str, str]
    mended: Mapping[str, str]
    without: Mapping[str, Mapping[str, str]]
    alone: Mapping[str, str]
    beside: tuple[str, ...]

    @cached_property
    def sentences(self) -> dict[str, str]:
        """The sentence of each number."""
        return {number: said for group in self.groups for number, said in group.cases.items()}

    @property
    def live(self) -> list[str]:
        """The numbers that a test has to show."""
        return [number for number in self.sentences if number not in self.struck]

    def why_alone(self, test: str) -> str:
        """Return why a test gets no good requests beside it; "" where it does."""
        if not test.startswith(tuple(f"{folder}/" for folder in self.beside)):
            return "its folder has none"
        return reason(self.alone, test)

    def odd(self, numbers: Iterable[str]) -> dict[str, str]:
        """Return which of these can't be the mark of a test, and why."""
        return {
            number: self.struck.get(number, "not in the catalogue")
            for number in numbers
            if number in self.struck or number not in self.sentences
        }


def reason(reasons: Mapping[str, str], test: str) -> str:
    """Return the reason that is given for a test, its file or a folder above it; "" without one."""
    place, _, name = test.partition("[")[0].partition("::")
    function = f"{place}::{name.rpartition('::')[2]}"
    above = [place, *(str(folder) for folder in PurePosixPath(place).parents)]
    return next((reasons[each] for each in (function, *above) if each in reasons), "")


@cache
def catalogue() -> Catalogue:
    """Read the catalogue."""
    written = tomllib.loads(CASES.read_text(encoding="utf-8"))
    groups = tuple(
        Group(
            letter,
            written[letter]["title"],
            written[letter]["about"],
            {f"{letter}-{number}": said for number, said in written[letter]["cases"].items()},
        )
        for letter in LETTERS
    )
    tables = (written[name] for name in ("struck", "mended", "without", "alone"))
    return Catalogue(groups, *tables, tuple(written["beside"]["folders"]))
