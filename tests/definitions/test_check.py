"""`check` and `schema` as people, machines and pull requests see them."""

import json

import pytest
import typer
from typer.testing import CliRunner

from proxy.cli import check as check_command
from proxy.cli import schema as schema_command
from proxy.definitions.schema import schema_text
from tests.definitions.written import ONE, write

WARNED = "allow_inline_secrets: true\n" + ONE.replace("{env: SECRET}", "canary-inline")
WRONG = "via: sometimes\n" + ONE.replace("my-app", "1e3").replace(
    "acme:\n    base_url", "acme:\n    requird: 1\n    base_url"
)


@pytest.fixture
def invoke(folder, monkeypatch):
    monkeypatch.setenv("SECRET", "canary-value")
    app = typer.Typer()
    app.command("check")(check_command.check)
    app.command("schema")(schema_command.schema)

    def run(*arguments):
        return CliRunner().invoke(app, list(arguments))

    return run


def test_what_is_fine_gets_a_summary(folder, invoke):
    write(folder, ONE, "iclient-proxy.yaml")

    done = invoke("check")

    assert (done.exit_code, done.stdout) == (0, "The definitions are fine: 1 connection, 1 iClient, 0 warnings.\n")


def test_every_fault_is_one_line_and_the_status_is_78(folder, invoke):
    write(folder, WRONG)

    done = invoke("check", "--config", "f.yaml")

    assert done.exit_code == 78
    assert done.stdout.splitlines() == [
        "f.yaml:1:1: via: 'sometimes' is not one of forward, always, never",
        "f.yaml:4:5: connections.acme.requird: unknown key 'requird' (did you mean required?)",
        "f.yaml:9:7: connections.acme.iclient.client_id: YAML reads this as a float; quote the value",
    ]


def test_warnings_become_faults_with_strict(folder, invoke):
    write(folder, WARNED)
    place = "f.yaml:9:7: connections.acme.iclient.client_secret: a secret stands in the file;"

    lenient, strict = invoke("check", "-c", "f.yaml"), invoke("check", "-c", "f.yaml", "--strict")

    assert (lenient.exit_code, strict.exit_code) == (0, 78)
    assert lenient.stdout.splitlines()[0].startswith(f"warning: {place}")
    assert lenient.stdout.splitlines()[1] == "The definitions are fine: 1 connection, 1 iClient, 1 warning."
    assert strict.stdout.startswith(place)
    assert "canary" not in lenient.stdout + strict.stdout


def test_machines_get_codes_and_places(folder, invoke):
    write(folder, WRONG)

    done = invoke("check", "-c", "f.yaml", "--format", "json")

    content = json.loads(done.stdout)
    assert (done.exit_code, content["ok"]) == (78, False)
    assert [(fault["code"], fault["line"], fault["column"]) for fault in content["faults"]] == [
        ("unknown_value", 1, 1),
        ("unknown_key", 4, 5),
        ("value_not_string", 9, 7),
    ]


def test_machines_are_told_what_was_found(folder, invoke):
    write(folder, WARNED)

    content = json.loads(invoke("check", "-c", "f.yaml", "--format", "json").stdout)

    assert content["ok"] is True
    assert content["connections"] == ["acme"]
    assert [warning["code"] for warning in content["warnings"]] == ["inline_secret"]


def test_pull_requests_are_marked_at_the_line(folder, invoke):
    write(folder, "connections: {a: {base_url: https://a.com, requird: 100%}}", "a,b:c.yaml")

    done = invoke("check", "-c", "a,b:c.yaml", "--format", "github")

    assert done.exit_code == 78
    assert done.stdout == (
        "::error file=a%2Cb%3Ac.yaml,line=1,col=44,title=unknown_key::"
        "connections.a.requird: unknown key 'requird' (did you mean required?)\n"
    )


def test_without_definitions_the_usual_places_are_named(invoke):
    done = invoke("check")

    assert done.exit_code == 78
    assert done.stdout == (
        "there are no definitions: no --config, no $ICLIENT_PROXY_CONFIG, "
        "none of iclient-proxy.yaml, config, /etc/iclient-proxy; "
        "`iclient-proxy init -o iclient-proxy.yaml` writes a first one, `iclient-proxy demo` shows one at work\n"
    )


def test_schema_prints_the_schema(invoke):
    done = invoke("schema")

    assert (done.exit_code, done.stdout) == (0, schema_text())
