"""Exported JSON taken apart into iClients and connections, however they are wrapped. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from proxy.errors import ProxyError

if TYPE_CHECKING:
    from collections.abc import Iterator

_ODD: Final = re.compile(r"[^a-z0-9_-]+")
_LONGEST: Final = 63
_DEEPEST: Final = 8  # of wrappers around a resource


class NotExportError(ProxyError):
    """A file is not JSON of integrator.io; the text names the file and the place."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One iClient or connection as the API returns it; `title` says in notes which one is meant."""

    file: str
    kind: str  # "iClient" or "connection"
    content: dict[str, Any]

    @property
    def id(self) -> str:
        """The id that others refer to, "" where there is none."""
        return str(self.content.get("_id") or "")

    @property
    def name(self) -> str:
        """The name as a human wrote it."""
        return str(self.content.get("name") or self.id or self.kind)

    @property
    def title(self) -> str:
        """What notes call it."""
        return f"{self.file}: {self.kind} {self.name!r}"


@dataclass(frozen=True, slots=True)
class Exported:
    """What files hold: the resources, and what else was found in them."""

    iclients: tuple[Resource, ...]
    connections: tuple[Resource, ...]
    others: tuple[str, ...]


def read(files: list[tuple[str, str]]) -> Exported:
    """Return the resources of files, each a name and its text. Raises `NotExportError`."""
    found: dict[str, list[Resource]] = {"iClient": [], "connection": []}
    others: list[str] = []
    for name, text in files:
        try:
            content = json.loads(text)
        except json.JSONDecodeError as error:
            raise NotExportError(
                f"{name}:{error.lineno}:{error.colno}: this is not JSON ({error.msg}); "
                "save what the API of integrator.io returns, or the file of an export"
            ) from None
        except RecursionError:
            raise NotExportError(f"{name}: it is nested too deep to be an export of integrator.io") from None
        before = sum(map(len, found.values())) + len(others)
        for kind, resource in _resources(content, 0):
            if kind in found:
                found[kind].append(Resource(name, kind, resource))
            else:
                others.append(f"{name}: {kind} {resource.get('name') or resource.get('_id') or ''!r}")
        if sum(map(len, found.values())) + len(others) == before:
            raise NotExportError(
                f"{name}: there is no iClient and no connection in it; an iClient has a member oauth2 or jwt, "
                "a connection has type and http"
            )
    return Exported(tuple(found["iClient"]), tuple(found["connection"]), tuple(others))


def _resources(content: object, depth: int) -> Iterator[tuple[str, dict[str, Any]]]:
    if depth > _DEEPEST:
        return
    if isinstance(content, list):
        for item in content:
            yield from _resources(item, depth + 1)
    elif isinstance(content, dict):
        kind = _kind(content)
        if kind:
            yield kind, content
        else:
            for item in content.values():
                yield from _resources(item, depth + 1)


def _kind(content: dict[str, Any]) -> str:
    if isinstance(content.get("http"), dict) and content.get("type", "http") == "http" and "auth" in content["http"]:
        return "connection"
    if isinstance(content.get("http"), dict) and "baseURI" in content["http"]:
        return "connection"
    if isinstance(content.get("type"), str) and "_id" in content:
        return f"{content['type']} connection" if content["type"] != "http" else "connection"
    if isinstance(content.get("oauth2"), dict) or "enableJWT" in content or isinstance(content.get("provider"), str):
        return "iClient"
    return ""


def slugs(names: list[str]) -> list[str]:
    """Return a name of our kind for each name, in order, none of them twice."""
    given: list[str] = []
    for name in names:
        plain = _ODD.sub("-", name.lower()).strip("-_")[:_LONGEST] or "unnamed"
        wanted, number = plain, 2
        while wanted in given:
            tail = f"-{number}"
            wanted, number = plain[: _LONGEST - len(tail)] + tail, number + 1
        given.append(wanted)
    return given
