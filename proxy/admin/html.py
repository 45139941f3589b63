"""Pages from templates.

The first page that somebody opens imports Jinja, off the event loop: a sidecar whose page is never opened does not pay
for it, and one whose page is opened relays on meanwhile.
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from jinja2 import Environment

# Fixed names, so that no path of a request ever meets the file system.
ASSETS: Final = {
    "admin.css": "text/css; charset=utf-8",
    "admin.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


async def render(template: str, **values: object) -> bytes:
    """Return the page `template` with `values`, which are escaped."""
    return await asyncio.to_thread(_render, template, values)


@cache
def asset(name: str) -> bytes:
    """Return the content of one of `ASSETS`."""
    from importlib.resources import files

    return files("proxy.admin").joinpath("assets", name).read_bytes()


def _render(template: str, values: dict[str, object]) -> bytes:
    return _environment().get_template(template).render(values).encode()


@cache
def _environment() -> Environment:
    from importlib.resources import files

    from jinja2 import Environment, FunctionLoader, StrictUndefined

    folder = files("proxy.admin").joinpath("templates")
    return Environment(
        loader=FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
