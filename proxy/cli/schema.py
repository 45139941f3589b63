"""`iclient-proxy schema`: the JSON Schema by which editors complete and check definitions."""

from __future__ import annotations

import typer

from proxy.definitions.schema import schema_text


def schema() -> None:
    """Print the JSON Schema of the definitions.

    Example: iclient-proxy schema > iclient-proxy.schema.json
    """
    typer.echo(schema_text(), nl=False)
