"""`iclient-proxy import`: brings iClients and connections along from where they are now."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proxy.cli.failures import InputError, UsageError

if TYPE_CHECKING:
    from proxy.celigo.notes import Notes


class Source(StrEnum):
    """What can be imported."""

    CELIGO = "celigo"


def import_(
    source: Annotated[Source, typer.Argument(help="Where the files come from: integrator.io of Celigo.")],  # noqa: ARG001
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="JSON of its API; - is standard input.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write here; it must not exist yet.")
    ] = None,
) -> None:
    """Turn exported iClients and HTTP connections into definitions, and say what could not be carried over.

    The definitions go to standard output, or to FILE; everything else is told on standard error. Secrets are never
    written: the definitions name environment variables for them.

    Example: iclient-proxy import celigo iclients.json connections.json -o iclient-proxy.yaml
    """
    from proxy.celigo.document import document
    from proxy.celigo.resources import NotExportError, read

    try:
        made = document(read([(str(path), _text(path)) for path in files]))
    except NotExportError as error:
        raise InputError(str(error)) from None
    if output is None:
        typer.echo(made.text, nl=False)
    else:
        try:
            with output.open("x", encoding="utf-8") as file:
                file.write(made.text)
        except FileExistsError:
            raise UsageError(f"{output} is there already; name another file, or remove it") from None
        except OSError as error:
            raise UsageError(f"{output} can't be written: {error.strerror}") from None
    counts = [f"{len(made.definitions.get(key, ()))} {key}" for key in ("iclients", "connections")]
    typer.echo("\n".join(told(made.notes, " and ".join(counts), output)), err=True)


def told(notes: Notes, what: str, output: Path | None) -> list[str]:
    """Return what a reader has to know, line by line."""
    lines = [f"Imported {what}" + (f" into {output}" if output is not None else "")]
    if notes.wanted:
        lines += ["", "Set these variables before you check or run the definitions:"]
        lines += [f"  {each.variable}  {each.resource}: {each.field}" for each in notes.wanted]
    if notes.left:
        lines += ["", "Not carried over:", *(f"  {each}" for each in notes.left)]
    if notes.guessed:
        lines += ["", "Look at these:", *(f"  {each}" for each in notes.guessed)]
    named = f" --config {output}" if output is not None else " --config FILE"
    return [*lines, "", f"Next: iclient-proxy check{named}"]


def _text(path: Path) -> str:
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: this is not UTF-8 text") from None
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}") from None
