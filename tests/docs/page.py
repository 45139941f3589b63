"""A page of the documentation as a reader follows it: its blocks of code in order, with what their fence says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"
_FENCE: Final = re.compile(r'^( *)```(\w+)(?: title="([^"]*)")?\n(.*?)^\1```$', re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One block of code: where it stands, its language, its title ("" without one), its text."""

    page: str
    number: int
    language: str
    title: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}-{self.number}"


def blocks(page: Path, *languages: str) -> list[Block]:
    """Return the blocks of one page in these languages, numbered from 1."""
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(ROOT).as_posix()
    found = [match.groups() for match in _FENCE.finditer(text)]
    return [
        Block(name, number, language, title or "", re.sub(f"^{indent}", "", content, flags=re.MULTILINE))
        for number, (indent, language, title, content) in enumerate(found, 1)
        if not languages or language in languages
    ]


def pages() -> list[Path]:
    """Return every page that the site has, but those that are made."""
    beside = [ROOT / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md")]
    written = [page for page in sorted(DOCS.rglob("*.md")) if "Made by `make reference`" not in page.read_text("utf-8")]
    return beside + written
