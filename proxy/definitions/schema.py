"""The JSON Schema for editors: the YAML as it is written, made from the tables that the loader reads by."""

from __future__ import annotations

import json
from typing import Any

from proxy.definitions.connections import CONNECTION
from proxy.definitions.iclients import ICLIENT
from proxy.definitions.table import TOP


def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of one file of definitions."""
    top = TOP.schema()
    # Under `defaults` the same keys stand, with the same meaning.
    top["properties"]["defaults"]["properties"] = {
        "iclient": {"$ref": "#/$defs/iclient"},
        "connection": {"$ref": "#/$defs/connection"},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:iclient-proxy:definitions:1",
        "title": "iclient-proxy definitions",
        **top,
        "$defs": {
            "iclient": ICLIENT.schema(),
            "connection": CONNECTION.schema(),
            "env": _reference("env", "Name of an environment variable."),
            "file": _reference("file", "Path of a file, from the folder of the definitions."),
            "sealed": _reference("sealed", "What `iclient-proxy seal` printed; opened with $ICLIENT_PROXY_KEY."),
        },
    }


def schema_text() -> str:
    """Return the schema as it is printed and published."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def _reference(form: str, what: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {form: {"type": "string", "minLength": 1, "description": what}},
        "required": [form],
        "additionalProperties": False,
    }
