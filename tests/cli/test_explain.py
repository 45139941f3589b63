"""What the definitions make of a connection, told before anything runs."""

import json

import pytest

from tests.cli.command import iclient_proxy

DEFINITION = """
listeners: {admin: {bind: "127.0.0.1:7499"}}
iclients:
  acme:
    grant_type: authorization_code
    authorization_url: https://login.acme.example/authorize
    token_url: "https://{{{connection.settings.tenant}}}.acme.example/token"
    client_id: my-app
    client_secret: {env: ACME_SECRET}
    valid_domains: [acme.example]
    scopes: [read, write]
    refresh_token_request: {headers: {X-Tenant: "{{{connection.settings.tenant}}}"}}
connections:
  crm: {iclient: acme, base_url: https://api.acme.example/v1, settings: {tenant: eu}}
  plain: {base_url: https://plain.example, route: false}
"""
ENVIRONMENT = {"ACME_SECRET": "canary-secret-of-acme"}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "iclient-proxy.yaml").write_text(DEFINITION)
    return tmp_path


async def test_it_tells_what_to_register_where_to_call_and_what_is_sent(folder):
    done = await iclient_proxy("explain", "crm", environment=ENVIRONMENT, cwd=folder)

    assert (done.status, done.err) == (0, "")
    assert "http://127.0.0.1:7499/oauth/callback/acme   (register this)" in done.out
    assert "http://127.0.0.1:7480/crm" in done.out
    assert "  POST https://eu.acme.example/token\n" in done.out
    assert "  Authorization: Basic ***\n" in done.out
    assert "  X-Tenant: eu\n" in done.out
    assert "  grant_type=refresh_token&refresh_token=***\n" in done.out
    assert "\x1b" not in done.out


async def test_for_machines_it_is_json(folder):
    done = await iclient_proxy("explain", "crm", "/crm/x", "--format", "json", environment=ENVIRONMENT, cwd=folder)

    content = json.loads(done.out)
    assert content["redirect_url"] == "http://127.0.0.1:7499/oauth/callback/acme"
    assert [request["what"] for request in content["requests"]] == ["authorization", "access token", "refresh"]
    assert (content["url"]["connection"], content["url"]["upstream"]) == ("crm", "https://api.acme.example/v1/x")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("/crm/x", "belongs to crm: its route is /crm\n  goes to https://api.acme.example/v1/x"),
        ("https://plain.example/x", "belongs to plain: it is below its base_url; it has no route"),
        ("/nobody", "belongs to no connection: no connection has a route"),
    ],
)
async def test_it_tells_whose_a_url_is(url, said, folder):
    done = await iclient_proxy("explain", "crm", url, environment=ENVIRONMENT, cwd=folder)

    assert done.status == 0
    assert said in done.out


async def test_a_recorded_response_is_judged(folder):
    (folder / "refused.http").write_text("HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\n\r\n{}")

    file = await iclient_proxy("explain", "crm", "--response", "refused.http", environment=ENVIRONMENT, cwd=folder)
    piped = await iclient_proxy(
        "explain", "crm", "--response", "-", "--format", "json",
        environment=ENVIRONMENT, cwd=folder, stdin="HTTP/2 200\r\n\r\nfine",
    )  # fmt: skip
    odd = await iclient_proxy(
        "explain", "crm", "--response", "-", environment=ENVIRONMENT, cwd=folder, stdin="nonsense"
    )

    assert (file.status, file.out.splitlines()[0]) == (0, "401: an auth error, by the rule status-401")
    assert json.loads(piped.out)["response"]["auth_error"] is False
    assert (odd.status, odd.out) == (65, "")


async def test_a_connection_without_an_iclient_needs_no_token(folder):
    done = await iclient_proxy("explain", "plain", environment=ENVIRONMENT, cwd=folder)

    assert (done.status, done.err) == (0, "")
    assert "none: no token is needed" in done.out
    assert "no route on the reverse listener" in done.out


@pytest.mark.parametrize(
    ("arguments", "environment", "status", "said"),
    [
        (("nobody",), ENVIRONMENT, 2, "there are: crm, plain"),
        (("crm", "nonsense"), ENVIRONMENT, 2, "the URL is not one"),
        (("crm",), {}, 78, "'ACME_SECRET' is not set"),
    ],
)
async def test_what_can_not_be_explained_says_why(arguments, environment, status, said, folder):
    done = await iclient_proxy("explain", *arguments, environment=environment, cwd=folder)

    assert (done.status, done.out) == (status, "")
    assert said in done.err
