"""Resources of integrator.io as one text of definitions, with the notes about it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import yaml

from proxy.celigo.connection import connection
from proxy.celigo.iclient import iclient
from proxy.celigo.notes import Notes
from proxy.celigo.resources import slugs

if TYPE_CHECKING:
    from proxy.celigo.iclient import Imported
    from proxy.celigo.resources import Exported, Resource

_HEAD: Final = "# Made by `iclient-proxy import celigo`. Secrets come from the environment: integrator.io shows none.\n"
_WIDTH: Final = 110


@dataclass(frozen=True, slots=True)
class Document:
    """The definitions as YAML, what they hold, and the notes."""

    text: str
    definitions: dict[str, Any]
    notes: Notes


def document(exported: Exported) -> Document:
    """Return the definitions that exported resources come to."""
    notes = Notes()
    clients = _named(exported.iclients)
    made: dict[str, Any] = {"iclients": {}, "connections": {}}
    imported: dict[str, tuple[str, Imported]] = {}
    for slug, resource in clients:
        found = iclient(resource, notes.of(resource.title, slug))
        made["iclients"][slug] = found.definition
        if resource.id:
            imported[resource.id] = slug, found
    used: set[str] = set()
    for slug, resource in _named(exported.connections):
        about = notes.of(resource.title, slug)
        wanted = str(resource.content["http"].get("_iClientId") or "")
        if wanted and wanted not in imported:
            about.left("http._iClientId", f"the iClient {wanted} is in none of the files; import it, too")
        content = connection(resource, imported.get(wanted), about)
        made["connections"][slug] = content
        if isinstance(content.get("iclient"), str):
            used.add(content["iclient"])
    for slug, resource in clients:
        if slug not in used:
            notes.of(resource.title, slug).guessed("name", f"no connection here uses iclients.{slug}; write one for it")
    for other in exported.others:
        notes.left.append(f"{other}: only iClients and HTTP connections are imported")
    made = {key: value for key, value in made.items() if value}
    return Document(_HEAD + _yaml(made), made, notes)


def _named(resources: tuple[Resource, ...]) -> list[tuple[str, Resource]]:
    return list(zip(slugs([each.name for each in resources]), resources, strict=True))


class _Dumper(yaml.SafeDumper):
    """Writes a reference such as `{env: NAME}` on one line, and all else in blocks."""


def _mapping(dumper: _Dumper, value: dict[str, Any]) -> yaml.Node:
    short = value.keys() == {"env"}
    return dumper.represent_mapping("tag:yaml.org,2002:map", value, flow_style=short)


def _sequence(dumper: _Dumper, value: list[Any]) -> yaml.Node:
    flat = all(not isinstance(item, dict | list) for item in value)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=flat)


_Dumper.add_representer(dict, _mapping)
_Dumper.add_representer(list, _sequence)


def _yaml(content: dict[str, Any]) -> str:
    parts = [
        yaml.dump({key: value}, Dumper=_Dumper, sort_keys=False, width=_WIDTH, allow_unicode=True)
        for key, value in content.items()
    ]
    return "\n".join(parts)
