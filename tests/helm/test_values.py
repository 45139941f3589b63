"""The values: every key has a default, a description and a type, and nothing else is let in."""

import json
import re

import jsonschema
import pytest
import yaml

from tests.helm.charts import CHART, EXAMPLES, GATEWAY, SIDECAR, Refused, helm

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
TEMPLATES = "\n".join(path.read_text() for path in (CHART / "templates").rglob("*") if path.is_file())
# Kubernetes' own objects, as deep as they are; the API server knows their keys.
PASSED_ON = {"$defs.free", "properties.global"}
# There bodies of requests and payloads of JWTs are open, as in its own schema.
PRODUCTS = ("$defs.definitions", "$defs.iclient", "$defs.connection")


def blocks(node, path=""):
    """Yield every part of the schema that is for mappings."""
    if isinstance(node, dict):
        if node.get("type") == "object":
            yield path, node
        for key, inner in node.items():
            yield from blocks(inner, f"{path}.{key}".lstrip("."))
    if isinstance(node, list):
        for number, inner in enumerate(node):
            yield from blocks(inner, f"{path}.{number}")


def faults(values):
    """Return what the schema finds in some values."""
    return [fault.message for fault in jsonschema.Draft7Validator(SCHEMA).iter_errors(values)]


def test_the_schema_is_one():
    jsonschema.Draft7Validator.check_schema(SCHEMA)


def test_no_mapping_takes_a_key_that_is_not_in_it():
    open_ = {path for path, block in blocks(SCHEMA) if block.get("additionalProperties", True) is True}

    assert {path for path in open_ if not path.startswith(PRODUCTS)} == PASSED_ON


def test_the_defaults_and_what_the_tests_render_are_let_in():
    assert [faults(values) for values in (VALUES, GATEWAY, SIDECAR)] == [[], [], []]


@pytest.mark.parametrize(
    "name", ["gateway.values.yaml", "injection.values.yaml", "shop/values.yaml", "export/values.yaml"]
)
def test_the_values_of_the_examples_are_let_in(name):
    values = yaml.safe_load((EXAMPLES / name).read_text())

    assert faults(values.get("iclient-proxy", values)) == []


def leaves(block, values, path=""):
    """Yield each key of the schema with its default."""
    for key, inner in block["properties"].items():
        if path + key == "global":
            continue
        assert key in values, f"{path}{key} has no default"
        if "properties" in inner and "description" not in inner:
            yield from leaves(inner, values[key], f"{path}{key}.")
        else:
            yield f"{path}{key}", inner


def test_every_key_has_a_default_and_a_description():
    found = dict(leaves(SCHEMA, VALUES))

    assert [path for path, inner in found.items() if not inner.get("description")] == []


def test_every_key_does_something():
    """A key that no template reads would be a promise that nobody keeps."""
    whole = set(re.findall(r"toYaml \$?\.?[Vv]alues\.([\w.]+)", TEMPLATES))
    unread = [
        path
        for path, _ in leaves(SCHEMA, VALUES)
        if not re.search(rf"\.{path.split('.')[-1]}\b", TEMPLATES) and path.rpartition(".")[0] not in whole
    ]

    assert unread == []


@pytest.mark.parametrize("name", ["acme", "x", "xy", "a-b_c", "0"])
def test_names_of_connections_are_those_of_the_product(name):
    assert faults({"definitions": {"connections": {name: {}}}}) == []


@pytest.mark.parametrize("name", ["Acme", "-a", "a.b", ""])
def test_other_names_are_refused(name):
    assert faults({"definitions": {"connections": {name: {}}}}) != []


def rendered(written, folder):
    """Return the iClient that the chart writes for a line of the values."""
    (folder / "values.yaml").write_text(f"gateway: {{enabled: false}}\ndefinitions:\n iclients:\n  a:\n   {written}\n")
    [found] = yaml.safe_load_all(helm("template", "a", CHART, "--values", folder / "values.yaml"))
    return yaml.load(found["data"]["00-values.yaml"], yaml.BaseLoader)["iclients"]["a"]


@pytest.mark.needs("helm")
@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("client_id: 0012", "client_id: Invalid type. Expected: string, given: integer"),
        ("client_id: 1e3", "client_id: Invalid type. Expected: string, given: integer"),
        ("pkce: off", "pkce must be one of the following"),
    ],
)
def test_what_helm_would_read_as_something_else_is_refused(tmp_path, written, said):
    """Helm reads YAML 1.1: `off` is false and `0012` is ten; the proxy takes both as they are written."""
    with pytest.raises(Refused) as refused:
        rendered(written, tmp_path)

    assert said in str(refused.value)


@pytest.mark.needs("helm")
@pytest.mark.parametrize("value", ["'0012'", "2026-11-26", "'off'", '"{{{connection.settings.tenant}}}"'])
def test_what_is_quoted_arrives_as_it_is_written(tmp_path, value):
    assert rendered(f"client_id: {value}", tmp_path) == {"client_id": value.strip("'\"")}


def test_helm_can_compile_every_pattern():
    """Go's regular expressions know no lookahead."""
    assert "(?" not in (CHART / "values.schema.json").read_text()
