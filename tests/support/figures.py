"""What an attack measured, beside what it must reach, as rows of a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Figure:
    """One row; `bar` is empty where the figure is only told."""

    what: str
    measured: str
    bar: str = ""
    holds: bool = True


def table(figures: Sequence[Figure]) -> str:
    """Return the rows as a Markdown table."""
    rows = [f"| {each.what} | {each.measured} | {each.bar} | {'yes' if each.holds else '**no**'} |" for each in figures]
    return "\n".join(["| what | measured | bar | holds |", "|---|---|---|---|", *rows])
