"""The token requests that `explain` shows: those of the running proxy, without a secret in them."""

import json
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from proxy.cli.failures import UsageError
from proxy.cli.masked import token_requests
from proxy.cli.routes import local_url, owner, target
from proxy.definitions.keys.signing_keys import shared_key
from proxy.definitions.models import (
    Connection,
    Definitions,
    IClient,
    Jwt,
    RequestOverride,
    Route,
    SecretFile,
    TokenExchange,
)
from proxy.definitions.settings import ForwardListener, Listeners, TcpBind
from proxy.definitions.templates.placeholders import TemplateMap, compile_template
from proxy.definitions.templates.urls import compile_url
from proxy.secret import Secret

ICLIENT = IClient(
    name="acme",
    client_id=compile_template("my-app"),
    client_secret=Secret("canary/secret+"),
    grant_type="client_credentials",
    client_auth="client_secret_basic",
    token_url=compile_url("https://auth.acme.example/token"),
    valid_domains=("auth.acme.example",),
    secrets=(("pin", Secret("canary-pin")),),
)
CONNECTION = Connection(
    name="crm",
    iclient=ICLIENT,
    base_url="https://api.acme.example/v1",
    route=Route(prefix="/crm"),
    username="ada",
    password=Secret("canary-password"),
    refresh_token=Secret("canary-seed"),
    settings=(("tenant", "t1"),),
    scopes=("read", "write"),
)


def shown(connection=CONNECTION, **changes):
    iclient = replace(ICLIENT, **changes)
    requests = token_requests(
        replace(connection, iclient=iclient), iclient, "http://127.0.0.1:7489/oauth/callback/acme", 1767323045.0, bytes
    )
    assert "canary" not in repr(requests)
    assert "masked" not in repr(requests)
    return {request.what: request for request in requests}


def test_credentials_in_the_header_are_masked_as_one():
    request = shown()["access token"]

    assert (request.method, request.url) == ("POST", "https://auth.acme.example/token")
    assert ("Authorization", "Basic ***") in request.headers
    assert request.body == "grant_type=client_credentials&scope=read+write"


def test_credentials_in_the_body_are_masked_in_their_field():
    body = shown(client_auth="client_secret_post", grant_type="password")["access token"].body

    assert body == "grant_type=password&username=ada&password=***&scope=read+write&client_id=my-app&client_secret=***"


def test_an_overridden_request_is_shown_as_it_is_sent():
    override = RequestOverride(
        url=compile_url(
            "https://auth.acme.example/{{{connection.settings.tenant}}}/token?pin={{{iclient.secrets.pin}}}"
        ),
        headers=(("X-Sign", compile_template('{{{hmac "sha256" iclient.client_secret "hex" "v"}}}')),),
        body=TemplateMap(
            (("a", compile_template("{{{connection.settings.tenant}}}")), ("n", TemplateMap((("x", 1),))))
        ),
        body_format="json",
    )

    request = shown(access_token_request=override)["access token"]

    assert request.url == "https://auth.acme.example/t1/token?pin=***"
    assert ("X-Sign", "***") in request.headers
    assert json.loads(request.body) == {"a": "t1", "n": {"x": 1}}


def test_a_code_is_asked_for_and_redeemed_with_what_is_only_known_then_masked():
    requests = shown(
        grant_type="authorization_code", authorization_url=compile_url("https://auth.acme.example/authorize")
    )

    assert list(requests) == ["authorization", "access token", "refresh"]
    assert requests["authorization"].url == (
        "https://auth.acme.example/authorize?response_type=code&client_id=my-app&redirect_uri=http%3A%2F%2F127.0.0.1%3A"
        "7489%2Foauth%2Fcallback%2Facme&scope=read%20write&state=***&code_challenge=***&code_challenge_method=S256"
    )
    assert "code=***&redirect_uri=" in requests["access token"].body
    assert requests["access token"].body.endswith("&code_verifier=***")
    assert requests["refresh"].body == "grant_type=refresh_token&refresh_token=***"


def test_what_only_a_token_answer_knows_is_masked_too():
    override = RequestOverride(url=compile_url("https://auth.acme.example/{{{connection.token.fields.org}}}/refresh"))

    requests = shown(grant_type="refresh_token", refresh_token_request=override)

    assert requests["refresh"].url == "https://auth.acme.example/***/refresh"


def test_an_assertion_is_shown_by_its_claims():
    jwt = Jwt(
        algorithm="HS256",
        key=shared_key(Secret("canary-key-of-thirty-two-bytes-00"), base64=False),
        payload=TemplateMap((("sub", compile_template("{{{connection.username}}}")),)),
    )

    bearer = shown(grant_type="jwt_bearer", jwt=jwt)["access token"]
    client = shown(client_auth="client_secret_jwt", jwt=jwt)["access token"]
    own = shown(grant_type="self_signed_jwt", jwt=jwt, token_url=None)["access token (signed here, no request)"]

    assert "assertion=***" in bearer.body
    assert bearer.assertion["payload"]["sub"] == "ada"
    assert bearer.assertion["payload"]["aud"] == "https://auth.acme.example/token"
    assert "client_assertion=***" in client.body
    assert client.assertion["header"]["alg"] == "HS256"
    assert own.assertion["payload"]["exp"] == 1767323345
    assert own.method == ""


def test_a_secret_that_is_a_token_itself_is_not_taken_apart():
    ready = Secret("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2ln")

    assert shown(client_auth="client_secret_post", client_secret=ready)["access token"].assertion is None


def test_a_url_that_only_the_server_knows_is_named_by_its_member_of_the_metadata():
    requests = shown(token_url=None, issuer="https://auth.acme.example/tenant")

    assert list(requests) == ["metadata", "access token"]
    assert requests["metadata"].url == "https://auth.acme.example/.well-known/oauth-authorization-server/tenant"
    assert requests["access token"].url == "{token_endpoint}"


def test_files_that_somebody_else_rotates_need_not_be_there():
    exchange = TokenExchange(subject_token=SecretFile(path=Path("/nowhere/token")), audience=("a", "b"))

    body = shown(grant_type="token_exchange", token_exchange=exchange)["access token"].body

    assert "subject_token=***" in body


def test_a_request_that_can_not_be_built_says_why():
    override = RequestOverride(extra=TemplateMap((("x", compile_template("{{{connection.settings.nothing}}}")),)))

    request = shown(access_token_request=override)["access token"]

    assert request.unknown == "connection.settings.nothing stands for nothing"


def test_every_grant_has_something_to_show():
    device = {"device_authorization_url": compile_url("https://auth.acme.example/device")}
    revocable = {"revocation_url": compile_url("https://auth.acme.example/revoke")}

    assert list(shown(grant_type="device_code", **device)) == ["device authorization", "access token", "refresh"]
    assert list(shown(grant_type="refresh_token", **revocable)) == ["refresh", "revocation"]


DEFINITIONS = Definitions(
    connections=(
        CONNECTION,
        Connection(
            name="deep", base_url="https://api.acme.example/v1/deep", route=Route(prefix="/crm/deep", strip=False)
        ),
        Connection(name="host", base_url="https://other.example", route=Route(prefix="/", host="other.local")),
        Connection(
            name="port",
            base_url="https://port.example",
            route=Route(prefix="/", bind=TcpBind(host="127.0.0.1", port=9001)),
        ),
        Connection(name="none", base_url="https://none.example"),
    )
)


@pytest.mark.parametrize(
    ("url", "connection", "upstream"),
    [
        ("/crm/x?y=z", "crm", "https://api.acme.example/v1/x?y=z"),
        ("http://127.0.0.1:7480/crm", "crm", "https://api.acme.example/v1"),
        ("http://localhost:7480/crm/deep/x", "deep", "https://api.acme.example/v1/deep/crm/deep/x"),
        ("http://other.local:7480/x", "host", "https://other.example/x"),
        ("http://127.0.0.1:9001/x", "port", "https://port.example/x"),
        ("http://127.0.0.1:7480/crmx", None, None),
        ("http://127.0.0.1:7480/crm/../x", "crm", None),
        ("https://api.acme.example/v1/x", "crm", "https://api.acme.example/v1/x"),
        ("https://api.acme.example/v1/deep/x", "deep", "https://api.acme.example/v1/deep/x"),
        ("https://api.acme.example/v10", None, None),
        ("https://none.example/x", "none", "https://none.example/x"),
        ("https://elsewhere.example/", None, None),
    ],
)
def test_whose_a_url_is(url, connection, upstream):
    found = owner(DEFINITIONS, url)

    assert (found.connection, found.upstream) == (connection, upstream)
    assert found.why


def test_of_an_api_url_it_says_how_an_application_calls_it():
    assert owner(DEFINITIONS, "https://api.acme.example/v1/x?y").why.endswith("calls http://127.0.0.1:7480/crm/x?y")
    assert "no route" in owner(DEFINITIONS, "https://none.example/x").why


PROXIED = replace(
    DEFINITIONS,
    listeners=Listeners(forward=ForwardListener()),
    connections=tuple(replace(each, hosts=(urlsplit(each.base_url).hostname,)) for each in DEFINITIONS.connections),
)


@pytest.mark.parametrize(
    ("url", "connection", "upstream"),
    [
        ("http://api.acme.example/v1/x?y", "crm", "https://api.acme.example/v1/x?y"),
        ("http://api.acme.example/v1/deep/x", "deep", "https://api.acme.example/v1/deep/x"),
        ("https://api.acme.example:443/v1/x", "crm", "https://api.acme.example/v1/x"),
        ("http://api.acme.example/v10", None, None),
        ("http://none.example", "none", "https://none.example/"),
        ("http://127.0.0.1:7480/crm/x", "crm", "https://api.acme.example/v1/x"),
        ("http://elsewhere.example/", None, None),
    ],
)
def test_whose_a_url_is_on_the_forward_listener(url, connection, upstream):
    found = owner(PROXIED, url)

    assert (found.connection, found.upstream) == (connection, upstream)


def test_of_a_claimed_url_it_says_by_which_proxy_and_url_an_application_calls_it():
    plain, secured = (owner(PROXIED, f"{scheme}://none.example/x") for scheme in ("http", "https"))

    assert plain.why.endswith("an application whose proxy is http://127.0.0.1:3128 calls http://none.example/x")
    assert secured.why.endswith("by https it gets no token, since TLS is not intercepted")
    assert owner(DEFINITIONS, "http://none.example/x").connection is None


@pytest.mark.parametrize("url", ["crm/x", "ftp://a/", "http://", "http://[x/", "http://a:99999/", "http://\u00e4/"])
def test_what_is_no_url_is_refused(url):
    with pytest.raises(UsageError, match="the URL is not one"):
        owner(DEFINITIONS, url)


def test_where_an_application_calls_each_connection():
    assert {each.name: local_url(DEFINITIONS, each) for each in DEFINITIONS.connections} == {
        "crm": "http://127.0.0.1:7480/crm",
        "deep": "http://127.0.0.1:7480/crm/deep",
        "host": "http://other.local:7480",
        "port": "http://127.0.0.1:9001",
        "none": None,
    }


def test_a_path_below_base_url_becomes_the_path_of_the_route():
    assert target(Route(prefix="/crm"), "v1/x?y") == "/crm/v1/x?y"
    assert target(Route(prefix="/"), "/x") == "/x"
    assert target(Route(prefix="/crm", strip=False), "/crm/x") == "/crm/x"
    with pytest.raises(UsageError, match="begins with /crm"):
        target(Route(prefix="/crm", strip=False), "/crmx")
    with pytest.raises(UsageError, match="percent-encode"):
        target(Route(prefix="/crm"), "/a b")
