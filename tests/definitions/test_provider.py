"""`provider`, `api`, `params`: what a preset brings, what wins over it, and what is said of mistakes."""

import json
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.definitions.written import codes, connection, definitions, loaded, said

ZENDESK = """
iclients:
  z:
    provider: zendesk
    client_id: app
    client_secret: {env: SECRET}
connections:
  acme: {iclient: z, params: {subdomain: acme}}
"""
FLEET = ZENDESK + "  other: {iclient: z, params: {subdomain: other}}\n"


def written(iclient="", connection="", top=""):
    """Return a definition with an iClient of its own at the connection; the arguments are further lines."""
    lines = ["provider: zendesk", "client_id: app", "client_secret: {env: SECRET}", *iclient.strip().splitlines()]
    own = ["iclient:", *(f"  {line}" for line in lines), *connection.strip().splitlines()]
    return top + "connections:\n  acme:\n" + "".join(f"    {line}\n" for line in own if line.strip())


def test_three_lines_and_the_answers_are_a_whole_definition(folder):
    acme = connection(folder, ZENDESK)

    assert acme.base_url == "https://acme.zendesk.com"
    assert acme.hosts == ("acme.zendesk.com",)
    assert acme.iclient.grant_type == "authorization_code"
    assert acme.iclient.client_auth == "client_secret_post"
    assert acme.iclient.valid_domains == ("zendesk.com",)


def test_each_connection_answers_for_itself(folder):
    acme, other = definitions(folder, FLEET).connections

    assert acme.iclient == other.iclient
    assert (acme.base_url, other.base_url) == ("https://acme.zendesk.com", "https://other.zendesk.com")


def test_the_answer_of_a_connection_wins_over_that_of_its_iclient(folder):
    own = written("params: {subdomain: first}", "params: {subdomain: second}")

    assert connection(folder, own).base_url == "https://second.zendesk.com"
    assert connection(folder, written("params: {subdomain: first}")).base_url == "https://first.zendesk.com"


def test_an_answer_may_come_from_elsewhere(folder):
    own = written("params: {subdomain: {env: HERE}}")

    assert connection(folder, own, {"SECRET": "s", "HERE": "acme"}).base_url == "https://acme.zendesk.com"


def test_a_key_written_by_hand_wins(folder):
    own = written(
        "params: {subdomain: acme}\nclient_auth: client_secret_basic\naccess_token_request: {extra: {expires_in: 60}}\n"
        "auth_errors: [{status: [403]}]",
        "base_url: https://edge.example.com\nping: {path: /me}",
    )

    acme = connection(folder, own)

    assert (acme.base_url, acme.hosts, acme.ping.path) == ("https://edge.example.com", ("edge.example.com",), "/me")
    assert acme.iclient.client_auth == "client_secret_basic"
    assert [leaf.text for _, leaf in acme.iclient.access_token_request.extra.entries] == ["60"]
    assert acme.auth_errors.any[0].status == ((403, 403),)


def test_defaults_are_written_by_hand_and_win_as_well(folder):
    top = "defaults: {iclient: {client_auth: client_secret_basic}}\n"

    assert connection(folder, written("params: {subdomain: a}", top=top)).iclient.client_auth == "client_secret_basic"


def test_headers_of_a_preset_and_those_written_by_hand_go_together(folder):
    text = """
connections:
  n:
    iclient: {provider: notion, client_id: app, client_secret: {env: SECRET}, params: {version: "2022-06-28"}}
    headers: {X-Team: blue, notion-VERSION: "2025-09-03"}
"""
    headers = {name: value.text for name, value in connection(folder, text).headers}

    assert headers == {"X-Team": "blue", "notion-VERSION": "2025-09-03"}


@pytest.mark.parametrize("answer", ["", ", params: {tenant: 12345678-1234-1234-1234-123456789012}"])
def test_a_header_whose_answer_may_be_left_out_is_left_out_without_it(folder, answer):
    text = f"""
connections:
  x:
    iclient: {{provider: xero, client_id: app, client_secret: {{env: SECRET}}{answer}}}
"""
    headers = [name for name, _ in connection(folder, text).headers]

    assert headers == (["xero-tenant-id"] if answer else [])


def test_what_a_preset_says_has_no_effect_with_another_grant_and_is_no_fault(folder):
    acme = connection(folder, written("params: {subdomain: acme}\ngrant_type: client_credentials"))

    assert acme.iclient.grant_type == "client_credentials"
    assert acme.iclient.authorization_url is None


def test_a_refresh_token_of_the_operator_serves_with_any_provider(folder):
    own = written("params: {subdomain: acme}\ngrant_type: refresh_token", "refresh_token: {env: SECRET}")

    assert loaded(folder, own).warnings == ()


def test_a_grant_that_nobody_knows_of_is_a_warning(folder):
    own = written("params: {subdomain: acme}\ngrant_type: password", "username: ann\npassword: {env: SECRET}")

    assert [warning.code for warning in loaded(folder, own).warnings] == ["provider_grant"]


def test_a_body_written_by_hand_replaces_what_a_preset_adds_to_the_default_one(folder):
    own = written("params: {subdomain: acme}\naccess_token_request: {body: {grant_type: x}}")

    override = connection(folder, own).iclient.access_token_request

    assert override.body is not None
    assert override.extra.entries == ()


def test_api_picks_one_of_several(folder):
    text = "connections:\n  p:\n    iclient: {provider: paypal, %sclient_id: a, client_secret: {env: SECRET}}\n"

    live, sandbox = connection(folder, text % ""), connection(folder, text % "api: sandbox, ")

    assert (live.base_url, live.iclient.token_url.text) == (
        "https://api-m.paypal.com",
        "https://api-m.paypal.com/v1/oauth2/token",
    )
    assert sandbox.base_url == "https://api-m.sandbox.paypal.com"
    assert sandbox.iclient.token_url.text == "https://api-m.sandbox.paypal.com/v1/oauth2/token"


def test_a_base_url_that_comes_with_the_token_brings_its_hosts(folder):
    text = "connections:\n  s:\n    iclient: {provider: salesforce, client_id: app, client_secret: {env: SECRET}}\n"

    salesforce = connection(folder, text)

    assert salesforce.base_url.text == "{{{connection.token.fields.instance_url}}}"
    assert salesforce.hosts == ("*.salesforce.com",)


def test_a_host_that_tokens_come_from_is_answered_at_the_iclient(folder):
    text = """
connections:
  k:
    iclient: {provider: keycloak, grant_type: client_credentials, client_id: a, client_secret: {env: SECRET}%s}
    params: {realm: acme%s}
"""
    there = connection(folder, text % (", params: {host: id.example.com}", ""))

    assert there.iclient.valid_domains == ("id.example.com",)
    assert codes(folder, text % ("", ", host: id.example.com")) == ["missing_key"]


def test_an_assertion_in_place_of_a_secret_needs_no_word_about_client_auth(folder):
    private = rsa.generate_private_key(65537, 2048)
    key = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")
    text = """
connections:
  g:
    iclient:
      provider: microsoft-graph
      grant_type: client_credentials
      client_id: app
      scopes: ["https://graph.microsoft.com/.default"]
      params: {tenant: contoso.onmicrosoft.com}
      jwt: {algorithm: RS256, private_key: {env: KEY}}
"""
    assert connection(folder, text, {"KEY": key}).iclient.client_auth == "private_key_jwt"


def test_what_is_not_verified_is_a_note_and_no_fault_with_strict(folder):
    gong = "connections:\n  g:\n    iclient: {provider: gong, client_id: app, client_secret: {env: SECRET}}\n"

    assert [note.code for note in loaded(folder, gong).notes] == ["provider_unverified"]
    assert loaded(folder, gong).warnings == ()
    assert loaded(folder, ZENDESK).notes == ()


def test_params_serve_templates_written_by_hand_too(folder):
    own = written("params: {subdomain: acme, team: blue}", 'headers: {X-Team: "{{{connection.params.team}}}"}')
    here = written("params: {subdomain: acme}", 'params: {team: b}\nheaders: {X-Team: "{{{connection.params.team}}}"}')

    assert codes(folder, own) == ["unknown_key"]
    assert [value.text for _, value in connection(folder, here).headers] == ["b"]


def test_a_value_that_does_not_fit_is_not_quoted(folder):
    (fault,) = said(folder, written("params: {subdomain: {env: HERE}}"), {"SECRET": "s", "HERE": "canary.evil"})

    assert fault.startswith("param_invalid")
    assert "canary" not in fault


def test_definitions_without_a_provider_read_no_preset(tmp_path):
    (tmp_path / "f.yaml").write_text("connections: {a: {base_url: https://a.example}}")
    code = (
        "import sys, pathlib; from proxy.definitions.load import load; load([pathlib.Path(sys.argv[1])], {}); "
        "print('proxy.definitions.providers' in sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "f.yaml")], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr


def test_the_name_of_a_provider_is_never_a_path(folder):
    text = json.dumps({"iclients": {"a": {"provider": "../../secret", "client_id": "a"}}})

    assert codes(folder, text) == ["unknown_provider"]
