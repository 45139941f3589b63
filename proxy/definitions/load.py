"""The one loader of `run` and `check`: files to nodes, nodes to models, every fault at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from proxy.clock import SystemClock
from proxy.definitions.authority import authority_files, check_authority, interception
from proxy.definitions.binds import check_binds
from proxy.definitions.connections import CONNECTION, connection, registration_of
from proxy.definitions.expand import expanded_connection, expanded_iclient
from proxy.definitions.forward import check_claims
from proxy.definitions.iclients import ICLIENT, Registration, iclient
from proxy.definitions.listeners import listeners
from proxy.definitions.models import Definitions
from proxy.definitions.notation import sources
from proxy.definitions.notation.footprint import Footprint
from proxy.definitions.notation.nodes import Mapping, Node, Place, Scalar, described
from proxy.definitions.notation.reader import read
from proxy.definitions.notation.reading import Reading, UnreadableError
from proxy.definitions.notation.shapes import Block, Fields
from proxy.definitions.redirects import check_redirects
from proxy.definitions.routes import check_routes, route
from proxy.definitions.settings import Limits, Listeners, Log, Shutdown
from proxy.definitions.settings import Span as SpanModel
from proxy.definitions.stores import store
from proxy.definitions.table import TOP, merge_files
from proxy.errors import DefinitionsError, Fault

if TYPE_CHECKING:
    from collections.abc import Mapping as MappingOf
    from collections.abc import Sequence
    from pathlib import Path

    from proxy.clock import Clock
    from proxy.definitions.expand import Chosen
    from proxy.definitions.models import Connection, Route
    from proxy.definitions.settings import Bind


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the files say: the definitions, what the operator should know, and what was done to values.

    `variables` are the names of those that values came from.
    """

    definitions: Definitions
    warnings: tuple[Fault, ...] = ()
    notes: tuple[Fault, ...] = ()
    variables: frozenset[str] = frozenset()


def load(
    paths: Sequence[Path],
    environ: MappingOf[str, str],
    clock: Clock | None = None,
    *,
    with_authority: bool = True,
    footprint: Footprint | None = None,
) -> Loaded:
    """Read and check the definitions in `paths` (files or folders); `{env: NAME}` is looked up in `environ`.

    Raises `DefinitionsError` with every fault. `clock` tells whether a certificate has expired. Without the local
    authority its files are not looked at: it is about to be made. `footprint` remembers what was read, also in a fault.
    """
    reading = Reading(environ, {}, (clock or SystemClock()).wall(), footprint=footprint or Footprint())
    roots, complete = _roots(paths, reading)
    if not roots:
        raise DefinitionsError(
            list(reading.faults) or [Fault("", 0, 0, "", "config_empty", "no definitions are named; use --config PATH")]
        )
    merged = merge_files(roots, reading)
    inline = merged.entries.get("allow_inline_secrets")
    reading.allow_inline_secrets = getattr(inline, "text", "") == "true" and getattr(inline, "plain", False)
    definitions = _definitions(TOP.read(merged, reading), reading, complete=complete, with_authority=with_authority)
    if reading.faults or definitions is None:
        raise DefinitionsError(list(reading.faults))
    return Loaded(
        definitions,
        tuple(sorted(reading.warnings)),
        tuple(sorted(reading.notes)),
        frozenset(reading.variables),
    )


def _roots(paths: Sequence[Path], reading: Reading) -> tuple[list[Mapping], bool]:
    """Return the root of each file that can be used, and whether all can."""
    found, faults = sources.find(paths)
    reading.footprint.listed = tuple(str(source.path) for source in found)
    reading.faults.update(dict.fromkeys(faults))
    roots = []
    for source in found:
        name = str(source.path)
        reading.folders[name] = source.folder
        data = reading.footprint.read(source.path, partial(sources.load, source), _content)
        if isinstance(data, Fault):
            reading.faults[data] = None
            continue
        root, faults = read(data, name)
        reading.faults.update(dict.fromkeys(faults))
        if isinstance(root, Mapping) and root.entries:
            roots.append(root)
        elif root is not None and not isinstance(root, Mapping) and described(root) != "nothing":
            reading.fault(root, "wrong_type", f"expected a mapping such as connections: {{…}}, found {described(root)}")
        elif not faults:
            reading.faults[
                Fault(name, 0, 0, "", "config_empty", "the file is empty; write connections: {…}, or remove it")
            ] = None
    return roots, not faults and len(roots) == len(found)


def _content(data: bytes | Fault) -> bytes:
    return data.code.encode() if isinstance(data, Fault) else data


def _definitions(top: Fields, reading: Reading, *, complete: bool, with_authority: bool) -> Definitions | None:
    defaults: Fields | None = top.values.get("defaults")
    limits = _limits(top.values.get("limits"))
    iclients: dict[str, Node] = top.values.get("iclients", {})
    named: dict[str, Node] = top.values.get("connections", {})
    for key, nodes in (("iclients", iclients), ("connections", named)):
        if len(nodes) > limits.definitions:
            message = f"there are {len(nodes):,} {key}, more than limits.definitions: {limits.definitions}; raise it"
            reading.fault(top.nodes[key], "config_too_large", message)
            return None
    if complete and not named and not reading.faults:
        reading.warn(
            top.nodes.get("connections", top.node), "no_connections", "no connection is defined, so nothing is proxied"
        )
    registrations: dict[str, Registration | None] = {}
    providers: dict[str, Chosen] = {}
    for name, node in iclients.items():
        expanded, chosen = expanded_iclient(ICLIENT, _over(ICLIENT, defaults, "iclient", node), reading)
        if chosen is not None:
            providers[name] = chosen
        registrations[name] = _iclient(name, expanded, chosen, reading)
    connections = []
    claims: list[tuple[Connection, Node]] = []
    inline: list[Registration] = []
    routes: list[tuple[Route, Node]] = []
    for name, node in named.items():
        fields, own = _connection_fields(node, defaults, providers, reading)
        if fields is None:
            continue
        found = route(name, fields, reading)
        if found is not None and ("route" not in fields or "route" in fields.values):
            routes.append((found, fields.nodes.get("route", fields.node)))
        registration = registration_of(name, fields, registrations, reading, complete=complete, chosen=own)
        if registration is not None and isinstance(fields.values.get("iclient"), Fields):
            inline.append(registration)
        built = connection(name, fields, found, registration, reading)
        if built is not None:
            connections.append(built)
            claims.append((built, fields.nodes.get("hosts", fields.node)))
    check_routes(routes, reading)
    listening = _listeners(top, routes, reading)
    check_claims(listening.forward, claims, reading)
    check_redirects([one for one in (*registrations.values(), *inline) if one is not None], listening.admin, reading)
    kept = store(top, reading)
    authority = authority_files(top, reading)
    intercept = interception(top)
    if intercept is not None and with_authority:
        authority = check_authority(intercept, authority, claims, reading)
        if listening.forward is not None:
            listening = replace(listening, forward=replace(listening.forward, intercept=authority))
    if reading.faults:
        return None
    return Definitions(
        workers=top.values.get("workers", 1),
        via=top.values.get("via", "forward"),
        listeners=listening,
        log=Log(**top.values["log"].values) if "log" in top.values else Log(),
        shutdown=Shutdown(**top.values["shutdown"].values) if "shutdown" in top.values else Shutdown(),
        limits=limits,
        egress_proxy=top.values.get("egress_proxy"),
        store=kept,
        authority=authority,
        connections=tuple(connections),
    )


def _limits(fields: Fields | None) -> Limits:
    if fields is None:
        return Limits()
    written: dict[str, Any] = {
        key: SpanModel(**value) if isinstance(value, dict) else value for key, value in fields.values.items()
    }
    return Limits(**written)


def _listeners(top: Fields, routes: list[tuple[Route, Node]], reading: Reading) -> Listeners:
    fields = top.values.get("listeners") or Fields(Mapping({}, Place(top.node.place.file), "listeners"))
    found, binds = listeners(fields, reading)
    own: dict[Bind, Node] = {}
    for one, node in routes:
        if one.bind is not None:
            own.setdefault(one.bind, node)
    check_binds([*binds, *own.items()], reading)
    # A reverse listener is on when a connection has a route on it.
    on = any(one.bind is None for one, _ in routes)
    if on and not found.reverse and found.forward is None and "reverse" in fields.values:
        reading.warn(fields.nodes["reverse"], "unreachable", "no listener is open for the routes of the connections")
    return found if on else replace(found, reverse=())


def _iclient(name: str, node: Node, chosen: Chosen | None, reading: Reading) -> Registration | None:
    try:
        fields = ICLIENT.read(node, reading)
    except UnreadableError:
        return None
    # Of a provider that there is not nobody knows what it would have brought.
    return iclient(name, fields, reading, chosen) if chosen is None or chosen.preset is not None else None


def _connection_fields(
    node: Node, defaults: Fields | None, providers: MappingOf[str, Chosen], reading: Reading
) -> tuple[Fields | None, Chosen | None]:
    """Read a connection; with it goes the provider that its own iClient names, if it has one of its own."""
    merged = _over(CONNECTION, defaults, "connection", node)
    own: Chosen | None = None
    if isinstance(merged, Mapping):
        written = merged.entries.get("iclient")
        chosen = providers.get(written.text) if isinstance(written, Scalar) else None
        if isinstance(written, Mapping):
            inline, own = expanded_iclient(ICLIENT, _over(ICLIENT, defaults, "iclient", written), reading)
            merged = Mapping({**merged.entries, "iclient": inline}, merged.place, merged.path)
            chosen = own
        if chosen is not None:
            merged = expanded_connection(CONNECTION, merged, chosen)
    try:
        return CONNECTION.read(merged, reading), own
    except UnreadableError:
        return None, own


def _over(block: Block, defaults: Fields | None, key: str, node: Node) -> Node:
    under = defaults.nodes.get(key) if defaults is not None else None
    return node if under is None else block.merge(under, node)
