"""Hooks of mkdocs: pages that lie beside `docs/` join the site, and links lead where the site has something.

The pages are written for those who read them among the files. A link to a file that is no page becomes its name.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).parents[1]
# The page of the site that a file beside `docs/` becomes.
BESIDE: Final = {
    "README.md": "index.md",
    "SECURITY.md": "security-policy.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
_DOCS: Final = "docs/"
_CODE: Final = re.compile(r"^(?:```|~~~).*?^(?:```|~~~)$", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"\[((?:[^\[\]]|\\.)+)\]\(([^)\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie beside `docs/`."""
    for source, name in BESIDE.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Return the page with links that lead somewhere on the site."""
    return linked(markdown, page.file.src_uri)


def linked(markdown: str, name: str) -> str:
    """Return the text of the page `name` with its links as the site needs them; code stays as it is."""
    lies = {page: source for source, page in BESIDE.items()}.get(name, _DOCS + name)
    pieces = []
    end = 0
    for code in _CODE.finditer(markdown):
        pieces += [_relinked(markdown[end : code.start()], lies, name), code.group()]
        end = code.end()
    return "".join([*pieces, _relinked(markdown[end:], lies, name)])


def _relinked(text: str, lies: str, name: str) -> str:
    def one(link: re.Match[str]) -> str:
        words, target = link.groups()
        place, hash_, anchor = target.partition("#")
        if not place or re.match(r"[a-z]+:", target):
            return link.group()
        aimed = posixpath.normpath(posixpath.join(posixpath.dirname(lies), place))
        page = BESIDE.get(aimed) or (aimed.removeprefix(_DOCS) if aimed.startswith(_DOCS) else None)
        if page is None:
            return words
        return f"[{words}]({posixpath.relpath(page, posixpath.dirname(name) or '.')}{hash_}{anchor})"

    return _LINK.sub(one, text)
