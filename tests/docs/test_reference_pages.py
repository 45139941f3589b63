"""The reference pages say what the product says today; `make reference` writes them."""

import re

import pytest

from pages import REFERENCE, definitions, metrics
from proxy.cli.verbs import VERBS
from proxy.definitions.schema import schema
from tests.docs.page import ROOT


def written(place):
    return (ROOT / place).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "place", [place for place in REFERENCE if not place.endswith(("metrics.md", "command-line.md"))]
)
def test_a_reference_page_is_current(place):
    assert written(place) == REFERENCE[place](), f"{place} is stale: make reference"


def test_the_page_of_metrics_is_what_a_running_proxy_says():
    """Metrics of the interpreter and of the kernel's bookkeeping may differ from machine to machine."""
    place = "docs/reference/metrics.md"

    def own(text):
        return [line for line in text.splitlines() if not re.match(r"\| `(process|python)_", line)]

    assert own(written(place)) == own(metrics.page()), f"{place} is stale: make reference"


def test_the_page_of_the_command_line_is_what_each_verb_says():
    """Pythons break lines and write options each in their way; the words are the same."""
    place = "docs/reference/command-line.md"

    def words(text):
        return sorted(set(re.findall(r"[\w'.:/-]{2,}", text)))

    assert words(written(place)) == words(REFERENCE[place]()), f"{place} is stale: make reference"
    assert [verb for verb in VERBS if f"\n## {verb}\n" not in written(place)] == []


def properties(schema_of, above=""):
    """Yield the path of every property of the published schema, through its choices and lists."""
    for name, inner in schema_of.get("properties", {}).items():
        yield above + name
        yield from properties(inner, f"{above}{name}.")
    for choice in schema_of.get("anyOf", ()):
        yield from properties(choice, above)
    if "items" in schema_of:
        yield from properties(schema_of["items"], above)


def test_every_key_of_the_published_schema_has_its_row():
    published = schema()
    found = set(properties(published))
    for name in ("iclient", "connection"):
        found |= set(properties(published["$defs"][name], f"{name}."))
    rules = {path for path in found if re.search(r"\.auth_errors\.", path)}  # docs/auth-errors.md

    assert found - rules - set(definitions.keys()) == set()
