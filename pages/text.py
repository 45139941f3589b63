"""Markdown of the reference pages: who made them, tables that no cell breaks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def begun(title: str, about: str) -> list[str]:
    """Return the first lines of a page that nobody writes by hand."""
    return ["<!-- Made by `make reference`. -->", "", f"# {title}", "", about, ""]


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table and the empty line behind it; a bar within a cell is escaped."""
    lines = [heads, ["---"] * len(heads), *rows]
    return [*("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines), ""]


def code(text: str) -> str:
    """Return `text` as code."""
    return f"`{text}`"
