"""The pages of docs/guides as a reader follows them: files are saved, commands are run, in the order of the page.

A block of `sh` is run; `shell` marks one that is not. A block in another language whose first line is a comment with a
file's name is saved as that file. From the heading "https" on a page is about interception.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.support.process import ROOT

if TYPE_CHECKING:
    from pathlib import Path

GUIDES: Final = ROOT / "docs" / "guides"
# What these say is run elsewhere: in a chart, as an example, with a collector.
ELSEWHERE: Final = {
    "kubernetes": "tests/docs/test_kubernetes.py",
    "prometheus": "tests/clients/test_prometheus.py",
    "tracing": "tests/observe/test_traces.py",
}
_BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NAMED: Final = re.compile(r"(?:<\?php\n)?(?:#|//) ([\w.]+\.\w+)\n")
_INTERCEPTED: Final = re.compile(r"^## https$", re.MULTILINE)


@dataclass(frozen=True)
class Step:
    """One shell block: the files that are saved before it, and how many requests it makes to the API."""

    page: str
    number: int
    script: str
    files: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return f"{self.page}-{self.number}"

    @property
    def requests(self) -> int:
        """How many URLs of the API it names, in itself or in the files that it names."""
        texts = [self.script, *(content for name, content in self.files if name in self.script)]
        return sum(len(re.findall(r"://(?:api|shop)\.(?:example|acme)\.com/", text)) for text in texts)

    def save(self, folder: Path) -> None:
        """Write the files where the commands are run."""
        for name, content in self.files:
            (folder / name).write_text(content)


def steps(page: Path, *, intercepted: bool) -> list[Step]:
    """Return the steps of one half of a page; its files may be saved in the other."""
    text = page.read_text(encoding="utf-8")
    found = _INTERCEPTED.search(text)
    split = 0 if page.stem == "interception" else found.start() if found else len(text)
    files: list[tuple[str, str]] = []
    result: list[Step] = []
    for block in _BLOCK.finditer(text):
        language, content = block.groups()
        named = _NAMED.match(content)
        if named:
            files.append((named[1], content))
        if language == "sh" and (block.start() >= split) is intercepted:
            result.append(Step(page.stem, len(result) + 1, content, tuple(files)))
    return result


def all_steps(*, intercepted: bool) -> list[Step]:
    """Return the steps of one half of all pages."""
    pages = [page for page in sorted(GUIDES.glob("*.md")) if page.stem not in ELSEWHERE]
    return [step for page in pages for step in steps(page, intercepted=intercepted)]


def readme() -> Step:
    """Return the commands of the README about the forward proxy, for a product that is on the PATH."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    [block] = _BLOCK.findall(text.partition("## Software that nobody can change")[2].partition("\n## ")[0])
    return Step("README", 1, block[1].replace(".venv/bin/", ""), ())


def definitions() -> list[tuple[str, str]]:
    """Return every block of YAML that is a whole definition, with the name of its page."""
    return [
        (page.stem, block[2])
        for page in sorted(GUIDES.glob("*.md"))
        for block in _BLOCK.finditer(page.read_text(encoding="utf-8"))
        if block[1] == "yaml" and re.search(r"^connections:", block[2], re.MULTILINE)
    ]
