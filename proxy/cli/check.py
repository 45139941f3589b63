"""`iclient-proxy check`: the loader of `run`, for people, for machines and for pull requests."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from proxy.cli.where import definitions_at
from proxy.definitions.load import Loaded, load
from proxy.definitions.places import config_paths
from proxy.errors import DefinitionsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from proxy.errors import Fault

EXIT_DEFINITIONS: Final = 78  # EX_CONFIG of sysexits.h


class Format(StrEnum):
    """How faults are printed."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"


def check(
    config: Annotated[
        list[Path] | None, typer.Option("--config", "-c", help="A file or a folder; may be given several times.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as faults.")] = False,
    format: Annotated[Format, typer.Option("--format", help="How faults are printed.")] = Format.TEXT,  # noqa: A002
) -> None:
    """Check the definitions and print every fault at once; exit status 78 if there is one.

    Example: iclient-proxy check --config ./config --strict
    """
    status, lines = outcome(config or (), os.environ, strict=strict, form=format)
    for line in lines:
        typer.echo(line)
    if format is Format.TEXT and config_paths(config, os.environ):  # else the fault names the next step
        place = f" {shlex.join(f'--config={path}' for path in config)}" if config else ""
        found, them = _count(len(lines), "fault"), "it" if len(lines) == 1 else "them"
        says = f"{found}. Next: correct {them}, then iclient-proxy check" if status else "Next: iclient-proxy run"
        typer.echo(f"{says}{place}", err=True)
    if status:
        raise typer.Exit(status)


def outcome(config: Sequence[Path], environ: Mapping[str, str], *, strict: bool, form: Format) -> tuple[int, list[str]]:
    """Return the exit status and the lines to print for the definitions in `config`, else in the usual places."""
    loaded: Loaded | None = None
    faults: tuple[Fault, ...] = ()
    try:
        loaded = load(definitions_at(config, environ), environ)
    except DefinitionsError as error:
        faults = error.faults
    warnings = loaded.warnings if loaded is not None else ()
    if strict:
        faults, warnings = tuple(sorted((*faults, *warnings))), ()
    status = EXIT_DEFINITIONS if faults else 0
    match form:
        case Format.JSON:
            return status, [_json(faults, warnings, loaded)]
        case Format.GITHUB:
            return status, [*_github("error", faults), *_github("warning", warnings)]
        case Format.TEXT:
            return status, _text(faults, warnings, loaded)


def _text(faults: Iterable[Fault], warnings: Sequence[Fault], loaded: Loaded | None) -> list[str]:
    lines = [str(fault) for fault in faults]
    if lines or loaded is None:
        return lines
    lines += [f"warning: {warning}" for warning in warnings]
    lines += [f"note: {note}" for note in loaded.notes]
    connections = loaded.definitions.connections
    iclients = {connection.iclient.name for connection in connections if connection.iclient is not None}
    found = f"{_count(len(connections), 'connection')}, {_count(len(iclients), 'iClient')}"
    return [*lines, f"The definitions are fine: {found}, {_count(len(warnings), 'warning')}."]


def _json(faults: Iterable[Fault], warnings: Iterable[Fault], loaded: Loaded | None) -> str:
    content = {
        "ok": not faults,
        "faults": [asdict(fault) for fault in faults],
        "warnings": [asdict(warning) for warning in warnings],
        "notes": [asdict(note) for note in loaded.notes] if loaded is not None else [],
        "connections": [connection.name for connection in loaded.definitions.connections] if loaded is not None else [],
    }
    return json.dumps(content, indent=2)


def _github(level: str, faults: Iterable[Fault]) -> list[str]:
    """Return workflow commands; the runner shows each at its line of the pull request."""
    return [
        f"::{level} file={_property(fault.file)},line={max(1, fault.line)},col={max(1, fault.column)},"
        f"title={_property(fault.code)}::{_escaped(f'{fault.path}: {fault.message}' if fault.path else fault.message)}"
        for fault in faults
    ]


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
