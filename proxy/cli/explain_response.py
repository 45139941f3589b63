"""What `iclient-proxy explain` says about a recorded response: which rule matches, what would be done, why not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from proxy.cli.failures import InputError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from proxy.definitions.models import Connection
    from proxy.definitions.settings import Limits

ResponseFile = Annotated[
    Path | None,
    typer.Option("--response", metavar="FILE", help="A response to judge, as curl -i prints it; - is standard input."),
]


def explained(connection: Connection, limits: Limits, file: Path) -> dict[str, Any]:
    """Return the verdict on the response in `file` as it is printed for machines.

    Raises `InputError` (exit status 65) when the file holds no response, `UsageError` when it can't be read or the
    connection has no token.
    """
    from proxy.exchange.classify import Classifier
    from proxy.exchange.inspection import Bounds
    from proxy.exchange.recorded import RecordedError, parse_recorded
    from proxy.exchange.verdict import explain

    if connection.iclient is None:
        raise UsageError(f"the connection {connection.name!r} has no iclient: no response is an auth error")
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror}") from error
    try:
        recorded = parse_recorded(data)
    except RecordedError as error:
        raise InputError(f"{file} is no HTTP response: {error}") from error
    bounds = Bounds(limits.inspect_raw, limits.inspect_decoded, limits.inspect_hold)
    found = explain(Classifier(connection.auth_errors), connection.replay, bounds, recorded)
    return {
        "status": found.status,
        "auth_error": found.rule is not None,
        "rule": found.rule,
        "then": {method: way.value for method, way in found.ways.items()},
        "replayed": {method: way.name == "REPLAY" for method, way in found.ways.items()},
        "body": found.body,
        "rules": [
            {"rule": each.name, "of": each.group, "matches": each.matches, "why": each.why} for each in found.reasons
        ],
        "notes": list(found.notes),
    }


def show(content: dict[str, Any], console: Console) -> None:
    """Print a verdict for people."""
    if content["auth_error"]:
        console.print(Text(f"{content['status']}: an auth error, by the rule {content['rule']}", "yellow"))
    else:
        console.print(Text(f"{content['status']}: no auth error", "green"))
    ways = content["then"]
    if len(set(ways.values())) == 1:
        console.print(Text(f"  then: {ways['GET']}"))
    else:
        for method, way in ways.items():
            console.print(Text(f"  {method}: {way}"))
    console.print(Text(f"  body: {content['body']}"))
    for note in content["notes"]:
        console.print(Text(f"  note: {note}"))
    for each in content["rules"]:
        style = "bold" if each["matches"] else "dim"
        console.print(Text(f"  {each['of']:<5} {each['rule']}: {each['why']}", style))
