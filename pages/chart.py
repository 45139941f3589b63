"""What the Helm chart has of the product: the schema of definitions, providers' grants; and the table of its values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from pages.text import code, table
from proxy.definitions.providers import names, preset
from proxy.definitions.schema import schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CHART: Final = Path(__file__).parents[1] / "helm" / "iclient-proxy"
_BEGIN: Final = "<!-- The table is made by `make reference`. -->\n"
_END: Final = "<!-- End of the table. -->\n"
# Helm's regular expressions know no lookahead: the same names, without those that begin with `x-`.
_NAMES: Final = {
    "^(?!x-)[a-z0-9][a-z0-9_-]{0,62}$": "^([a-wyz0-9][a-z0-9_-]{0,62}|x([a-z0-9_][a-z0-9_-]{0,61})?)$",
}
_SCALARS: Final = {
    ("string", "number", "boolean", "null"): ["string", "null"],
    ("string", "number", "boolean"): "string",
    ("string", "integer"): "string",
}
# As wide as what prints it well in a terminal.
_SHORT: Final = 60


def values_schema() -> str:
    """Return the schema of the chart's values: what is written by hand, and the product's own below `definitions`."""
    written: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    product = json.loads(_for_helm(json.dumps(schema())))
    inner = product.pop("$defs")
    definitions = {key: value for key, value in product.items() if key not in ("$schema", "$id", "title")}
    taken = set(inner) | {"definitions"}
    own = {key: value for key, value in written["$defs"].items() if key not in taken}
    written["$defs"] = {**own, "definitions": definitions, **inner}
    return json.dumps(written, indent=1, ensure_ascii=False) + "\n"


def _for_helm(text: str) -> str:
    """Return the product's schema as JSON that Helm can use.

    The product takes `0012` and `1e3` by their source text; Helm has made numbers of them before anybody can look. So
    what may be any scalar there has to be quoted here.
    """
    for ours, theirs in _NAMES.items():
        text = text.replace(json.dumps(ours), json.dumps(theirs))
    for several, single in _SCALARS.items():
        text = text.replace(json.dumps(several), json.dumps(single))
    return text


def providers() -> str:
    """Return the template by which the chart knows which grant a provider means."""
    usual = {name: next(iter(found.grants)) for name in names() if (found := preset(name)) is not None}
    lines = [f"{name}: {grant}" for name, grant in usual.items()]
    about = "{{/* Made by `make reference`: the usual grant of each provider. */}}"
    return "\n".join([about, '{{- define "iclient-proxy.providers" -}}', *lines, "{{- end }}", ""])


def readme() -> str:
    """Return the chart's README with the table of its values."""
    text = (CHART / "README.md").read_text(encoding="utf-8")
    before, _, rest = text.partition(_BEGIN)
    after = rest.partition(_END)[2]
    written = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    defaults = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    rows = [[code(path), _shown(default), about] for path, default, about in _values(written, defaults, "")]
    return before + _BEGIN + "\n" + "\n".join(table(["key", "default", "what it is"], rows)) + _END + after


def _values(block: Mapping[str, Any], defaults: Mapping[str, Any], above: str) -> Iterator[tuple[str, object, str]]:
    """Yield path, default and description of every value that has a default, in the order of the file of defaults."""
    for key, default in defaults.items():
        about = block["properties"][key]
        if "description" in about:
            yield above + key, default, about["description"]
        else:
            yield from _values(about, default, f"{above}{key}.")


def _shown(default: object) -> str:
    text = json.dumps(default, ensure_ascii=False)
    return code(text) if len(text) <= _SHORT else "see `values.yaml`"
