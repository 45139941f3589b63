"""What the loader makes of iClients of every grant and client authentication."""

import datetime as dt

import pytest

from proxy.definitions.load import load
from proxy.definitions.models import Ping, RequestOverride, SecretFile, TokenExchange
from proxy.definitions.templates.placeholders import TemplateMap, UrlTemplate, literal
from proxy.secret import Secret
from tests.definitions.test_tls import issued
from tests.definitions.written import ENVIRON, codes, connection, definitions, loaded, said, write

case = pytest.mark.case

SECRET = Secret("canary-value")
DAY = dt.timedelta(days=1)


def iclient(folder, lines, more=""):
    return connection(folder, written(lines, more)).iclient


def written(lines, more=""):
    """Return one connection with these lines in its iClient, and more lines beside it."""
    return (
        "connections:\n  acme:\n    base_url: https://api.acme.com\n"
        + "".join(f"    {line}\n" for line in more.strip().splitlines())
        + "    iclient:\n"
        + "".join(f"      {line}\n" for line in lines.strip().splitlines())
    )


def text(leaf):
    return leaf.text if leaf is not None else None


CODE = """grant_type: authorization_code
client_id: a
authorization_url: https://auth.acme.com/authorize?audience=x
token_url: https://auth.acme.com/token
"""
MACHINE = "grant_type: client_credentials\ntoken_url: https://auth.acme.com/token\n"


def test_an_authorization_code_needs_no_more_than_its_urls_and_id(folder):
    found = iclient(folder, CODE)

    assert (found.grant_type, found.pkce, found.client_auth) == ("authorization_code", "S256", "none")
    assert found.authorization_url.text == "https://auth.acme.com/authorize?audience=x"
    assert (found.redirect_url, found.authorization_params) == (None, ())
    assert found.valid_domains == ("auth.acme.com",)


def test_an_authorization_code_takes_every_key_of_its_own(folder):
    lines = """pkce: off
redirect_url: "myapp://{{{connection.settings.app}}}/cb"
revocation_url: https://revoke.acme.com/r
authorization_params: {prompt: consent, scope: null, client_id: null, callback_code: auth_code}
"""
    found = connection(folder, written(CODE + lines, "settings: {app: mine}\nrefresh_token: {env: SECRET}"))

    assert (found.iclient.pkce, found.refresh_token) == ("off", SECRET)
    assert found.iclient.redirect_url.text == "myapp://{{{connection.settings.app}}}/cb"
    assert [(name, text(value)) for name, value in found.iclient.authorization_params] == [
        ("prompt", "consent"),
        ("scope", None),
        ("client_id", None),
        ("callback_code", "auth_code"),
    ]
    assert found.iclient.valid_domains == ("auth.acme.com", "revoke.acme.com")


@pytest.mark.parametrize(
    ("lines", "more"),
    [
        (
            "grant_type: device_code\nclient_id: a\ntoken_url: https://a.com/t\ndevice_authorization_url: https://a.com/d",
            "",
        ),
        ("grant_type: refresh_token\ntoken_url: https://a.com/t", "refresh_token: {env: SECRET}"),
        ("grant_type: password\ntoken_url: https://a.com/t", "username: u\npassword: {env: SECRET}"),
        ("grant_type: jwt_bearer\ntoken_url: https://a.com/t\njwt: {token: {env: SECRET}}", ""),
        ("grant_type: self_signed_jwt\njwt: {token: {env: SECRET}}", ""),
        ("grant_type: token_exchange\ntoken_url: https://a.com/t\ntoken_exchange: {subject_token: {env: SECRET}}", ""),
        ("grant_type: device_code\nclient_id: a\nissuer: https://a.com", ""),
        ("grant_type: authorization_code\nclient_id: a\nissuer: https://a.com/realms/A", ""),
        ("grant_type: client_credentials\nissuer: https://a.com", ""),
    ],
)
def test_each_grant_loads_with_what_it_needs(folder, lines, more):
    found = iclient(folder, lines, more)

    assert found.grant_type == lines.split()[1]
    assert found.valid_domains == (() if found.grant_type == "self_signed_jwt" else ("a.com",))


def test_a_key_that_a_template_names_is_used(folder):
    body = (
        'access_token_request: {body: {u: "{{{connection.username}}}", '
        't: "{{{iclient.jwt.token}}}", s: "{{{iclient.scope}}}"}}'
    )
    lines = f"grant_type: password\ntoken_url: https://a.com/t\nscopes: a\njwt: {{token: {{env: SECRET}}}}\n{body}"
    headers = 'headers: {X-Key: "{{{base64Encode connection.password}}}"}'

    machine = connection(
        folder, written(MACHINE + body.replace(", t:", ", n:").replace("jwt.token", "name"), "username: u\nscopes: b")
    )
    bare = connection(
        folder, f"connections:\n  a:\n    base_url: https://a.com\n    password: {{env: SECRET}}\n    {headers}\n"
    )

    assert codes(folder, written(lines, "username: u\npassword: {env: SECRET}")) == []
    assert machine.username == "u"
    assert bare.password == SECRET
    assert bare.headers[0][1].text == "{{{base64Encode connection.password}}}"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("client_id: a\njwt: {token: {env: SECRET}}", "private_key_jwt"),
        ("client_id: a\njwt: {algorithm: HS256, secret: {env: SECRET}}", "client_secret_jwt"),
        ("client_id: a\nclient_secret: {env: SECRET}\njwt: {algorithm: HS256}", "client_secret_jwt"),
        ("client_id: a\nclient_secret: {env: SECRET}\nclient_auth: client_secret_post", "client_secret_post"),
        ("jwt: {algorithm: HS256, secret: {env: SECRET}, payload: {iss: a, sub: a}}", "client_secret_jwt"),
    ],
)
def test_client_auth_follows_from_the_jwt(folder, lines, expected):
    assert iclient(folder, MACHINE + lines).client_auth == expected


def test_a_certificate_says_who_the_client_is(folder):
    certificate, key = issued(dt.datetime.now(dt.UTC) - DAY, dt.datetime.now(dt.UTC) + 60 * DAY)
    write(folder, certificate, "cert.pem")
    write(folder, key, "key.pem").chmod(0o600)

    found = iclient(
        folder,
        MACHINE + "client_id: a\nclient_auth: tls_client_auth\ntls: {client_cert: cert.pem, client_key: key.pem}",
    )

    assert (found.client_auth, found.tls.client_cert) == ("tls_client_auth", certificate.strip())


@case("T-401")
def test_a_certificate_that_expires_within_a_fortnight_is_a_warning(folder):
    certificate, key = issued(dt.datetime.now(dt.UTC) - DAY, dt.datetime.now(dt.UTC) + 13 * DAY)
    write(folder, certificate, "cert.pem")
    write(folder, key, "key.pem").chmod(0o600)
    lines = MACHINE + "client_id: a\nclient_auth: tls_client_auth\ntls: {client_cert: cert.pem, client_key: key.pem}"

    (warning,) = loaded(folder, written(lines)).warnings

    assert warning.code == "client_certificate_expires_soon"


def test_a_jwt_is_read_with_all_its_parts(folder):
    lines = """grant_type: jwt_bearer
token_url: https://auth.acme.com/token
client_id: a
jwt:
  algorithm: HS256
  secret: {env: SECRET}
  key_id: 7
  lifetime: 1m
  payload: {sub: "{{{connection.username}}}", admin: true, level: 3, scopes: [a, b], aud: auth.acme.com, gone: null}
  header: '{"alg": "HS256", "typ": "at+jwt"}'
"""
    found = iclient(folder, lines, "username: u").jwt

    payload = dict(found.payload.entries)
    assert (found.algorithm, found.key_id, found.lifetime, found.token) == ("HS256", "7", 60, None)
    assert payload["sub"].text == "{{{connection.username}}}"
    assert (payload["admin"], payload["level"], payload["gone"]) == (True, 3, None)
    assert payload["scopes"] == (literal("a"), literal("b"))
    assert found.header == TemplateMap((("alg", literal("HS256")), ("typ", literal("at+jwt"))))


@case("C-50")
def test_a_short_shared_secret_is_a_warning(folder):
    found = loaded(folder, written(MACHINE + "client_id: a\njwt: {algorithm: HS256, secret: {env: SECRET}}"))

    assert [warning.code for warning in found.warnings] == ["key_too_short"]


@case("T-92")
@pytest.mark.parametrize(
    ("audience", "expected"),
    [("https://auth.acme.com/t", []), ("login.auth.acme.com", []),
     ("https://login.example.com", ["audience_outside_valid_domains"]),
     ("api", ["audience_outside_valid_domains"]), ('"{{{connection.settings.aud}}}"', [])],
)  # fmt: skip
def test_an_audience_outside_of_the_domains_is_a_warning(folder, audience, expected):
    lines = f"client_id: a\njwt: {{algorithm: HS256, secret: {{env: LONG}}, payload: {{aud: {audience}}}}}"
    environ = ENVIRON | {"LONG": "x" * 32}

    found = loaded(folder, written(MACHINE + lines, "settings: {aud: x}"), environ)

    assert [warning.code for warning in found.warnings] == expected


def test_a_key_and_its_certificate_are_read_from_files(folder):
    certificate, key = issued(dt.datetime.now(dt.UTC) - DAY, dt.datetime.now(dt.UTC) + 60 * DAY)
    write(folder, certificate, "cert.pem")
    write(folder, key, "key.pem").chmod(0o600)
    lines = "client_id: a\njwt: {algorithm: ES256, private_key: {file: key.pem}, certificate: {file: cert.pem}}"

    found = loaded(folder, written(MACHINE + lines))
    jwt = found.definitions.connections[0].iclient.jwt

    assert jwt.key.private is not None
    assert (len(jwt.x5t), len(jwt.x5t_s256)) == (27, 43)
    assert found.warnings == ()


def test_a_certificate_of_another_key_is_a_fault(folder):
    certificate, _ = issued(dt.datetime.now(dt.UTC) - DAY, dt.datetime.now(dt.UTC) + 60 * DAY)
    write(folder, certificate, "cert.pem")
    write(folder, issued(dt.datetime.now(dt.UTC), dt.datetime.now(dt.UTC))[1], "key.pem").chmod(0o600)
    lines = "client_id: a\njwt: {algorithm: ES256, private_key: {file: key.pem}, certificate: cert.pem}"

    assert codes(folder, written(MACHINE + lines)) == ["certificate_mismatch"]


@case("C-48")
def test_a_key_that_does_not_fit_its_algorithm_is_a_fault(folder):
    lines = "client_id: a\njwt: {algorithm: RS256, secret: {env: SECRET}}"

    assert codes(folder, written(MACHINE + lines)) == ["key_alg_mismatch"]


@case("C-46")
def test_a_passphrase_for_a_plain_key_stands_where_it_is_written(folder):
    write(folder, issued(dt.datetime.now(dt.UTC), dt.datetime.now(dt.UTC))[1], "key.pem").chmod(0o600)
    lines = "client_id: a\njwt: {algorithm: ES256, private_key: {file: key.pem}, passphrase: {env: SECRET}}"

    (line,) = said(folder, written(MACHINE + lines))

    assert line.startswith("key_not_encrypted f.yaml:8:61: connections.acme.iclient.jwt.passphrase: ")


def test_a_token_in_a_file_is_read_for_each_request(folder):
    write(folder, "canary", "token").chmod(0o600)
    write(folder, "canary", "actor").chmod(0o600)
    lines = """grant_type: token_exchange
token_url: https://auth.acme.com/token
client_id: a
client_auth: private_key_jwt
jwt: {token: {file: token}}
token_exchange:
  subject_token: {file: token}
  actor_token: {file: actor}
  actor_token_type: urn:ietf:params:oauth:token-type:jwt
  audience: [a, b]
  resource: https://api.acme.com
"""
    found = iclient(folder, lines)

    assert found.jwt.token == SecretFile(path=folder.joinpath("token").relative_to(folder))
    assert found.token_exchange == TokenExchange(
        subject_token=found.jwt.token,
        actor_token=SecretFile(path=folder.joinpath("actor").relative_to(folder)),
        actor_token_type="urn:ietf:params:oauth:token-type:jwt",
        audience=("a", "b"),
        resource=("https://api.acme.com",),
    )


def test_overrides_of_a_form_keep_their_source_text(folder):
    lines = """revocation_url: https://auth.acme.com/r
access_token_request: {extra: {version: 1.10, offline: true, n: 0012, client_id: null, on: 2026-01-01}}
refresh_token_request:
  method: GET
  url: "https://auth.acme.com/refresh/{{{connection.token.refresh_token}}}"
  headers: {X-Tenant: "{{{connection.settings.tenant}}}", Accept: null}
  body_format: query
revocation_request: {method: DELETE, body: {token: "{{{connection.token.access_token}}}"}}
"""
    found = iclient(folder, MACHINE + lines, "settings: {tenant: t}")

    extra = [(name, text(leaf)) for name, leaf in found.access_token_request.extra.entries]
    assert extra == [("version", "1.10"), ("offline", "true"), ("n", "0012"), ("client_id", None), ("on", "2026-01-01")]
    assert found.refresh_token_request.url.path.text == "/refresh/{{{connection.token.refresh_token}}}"
    assert [(name, text(value)) for name, value in found.refresh_token_request.headers] == [
        ("X-Tenant", "{{{connection.settings.tenant}}}"),
        ("Accept", None),
    ]
    assert (found.refresh_token_request.method, found.refresh_token_request.body_format) == ("GET", "query")
    assert found.revocation_request.body is not None
    assert found.revocation_request.extra == TemplateMap()


@pytest.mark.parametrize(
    "body",
    ['{n: 1.5, yes: true, none: null, list: [{a: 1}], text: "{{{iclient.name}}}"}',
     """'{"n": 1.5, "yes": true, "none": null, "list": [{"a": 1}], "text": "{{{iclient.name}}}"}'"""],
    ids=["mapping", "JSON text"],
)  # fmt: skip
def test_a_json_body_is_a_mapping_or_its_text(folder, body):
    found = iclient(folder, MACHINE + f"access_token_request: {{body_format: json, body: {body}}}")

    entries = dict(found.access_token_request.body.entries)
    assert (entries["n"], entries["yes"], entries["none"]) == (1.5, True, None)
    assert entries["list"] == (TemplateMap((("a", 1),)),)
    assert entries["text"].text == "{{{iclient.name}}}"


def test_a_json_text_can_not_be_deeper_than_yaml(folder):
    deep = "[" * 40 + "]" * 40
    bottomless = "[" * 100_000

    for nested in (deep, bottomless):
        lines = f"access_token_request: {{body_format: json, body: '{{\"a\": {nested}}}'}}"

        assert codes(folder, written(MACHINE + lines)) == ["override_body_invalid"]


def test_defaults_are_laid_under_maps_and_requests_name_by_name(folder):
    found = iclient(
        folder,
        MACHINE + "settings: {b: own}\naccess_token_request: {headers: {x-b: own}, extra: {b: own}}",
    )
    under = """defaults:
  iclient:
    settings: {a: default, b: default}
    access_token_request: {method: PUT, headers: {X-A: default, X-B: default}, extra: {a: default, b: default}}
"""
    laid = definitions(
        folder,
        under + written(MACHINE + "settings: {b: own}\naccess_token_request: {headers: {x-b: own}, extra: {b: own}}"),
    )
    merged = laid.connections[0].iclient

    assert found.settings == (("b", "own"),)
    assert merged.settings == (("a", "default"), ("b", "own"))
    assert merged.access_token_request == RequestOverride(
        method="PUT",
        headers=(("X-A", literal("default")), ("x-b", literal("own"))),
        extra=TemplateMap((("a", literal("default")), ("b", literal("own")))),
    )


def test_domains_come_from_urls_without_a_placeholder_in_their_host(folder):
    lines = """grant_type: client_credentials
issuer: https://id.acme.com
token_url: https://auth.acme.com:8443/{{{connection.settings.tenant}}}/token
revocation_url: https://auth.acme.com:8443/r
refresh_token_request: {url: "https://refresh.acme.com"}
"""
    found = iclient(folder, lines, "settings: {tenant: t}")

    assert found.valid_domains == ("auth.acme.com:8443", "refresh.acme.com", "id.acme.com")


def test_one_warning_tells_of_http_whatever_the_number_of_urls(folder):
    lines = """grant_type: client_credentials
token_url: http://localhost:8080/t
revocation_url: http://localhost:8080/r
allow_insecure: true
"""
    assert [warning.code for warning in loaded(folder, written(lines)).warnings] == ["insecure_url"]


def test_what_is_known_of_a_connection_is_put_in(folder):
    more = """settings: {sub: eu1, tenant: "{"}
secrets: {key: {env: SECRET}}
headers:
  X-Tenant: "t-{{{connection.settings.tenant}}}"
  X-Key: "{{{connection.secrets.key}}}"
  X-Token: "{{{connection.token.fields.id}}}"
  X-Id: "{{{uuid}}}"
  X-Client: "{{{iclient.client_id}}}"
"""
    url = "https://{{{connection.settings.sub}}}.acme.com/v1"
    found = connection(
        folder, written(MACHINE + 'client_id: "{{{connection.name}}}"', more).replace("https://api.acme.com", url)
    )

    assert (found.base_url, found.hosts) == ("https://eu1.acme.com/v1", ("eu1.acme.com",))
    assert [value.text for _, value in found.headers] == [
        "t-{",
        "{{{connection.secrets.key}}}",
        "{{{connection.token.fields.id}}}",
        "{{{uuid}}}",
        "acme",
    ]
    assert (found.settings, found.secrets) == ((("sub", "eu1"), ("tenant", "{")), (("key", SECRET),))


def test_a_base_url_that_comes_with_the_token_stays_a_template(folder):
    url = '"{{{connection.token.fields.instance_url}}}/v1"'
    found = connection(folder, written(MACHINE, 'hosts: ["*.acme.com"]').replace("https://api.acme.com", url))

    assert isinstance(found.base_url, UrlTemplate)
    assert (found.base_url.origin.text, found.hosts) == ("{{{connection.token.fields.instance_url}}}", ("*.acme.com",))


def test_ping_says_what_is_good(folder):
    found = connection(folder, written(MACHINE, 'ping: {method: HEAD, path: "/me?a=b", status: [200, "401-403"]}'))
    usual = connection(folder, written(MACHINE))

    assert found.ping == Ping(method="HEAD", path="/me?a=b", status=((200, 200), (401, 403)))
    assert usual.ping == Ping()


def test_tokens_may_be_revoked_at_the_end_and_answers_searched(folder):
    found = definitions(
        folder,
        "shutdown: {revoke: true}\nlimits: {inspect_raw: 1KiB, inspect_decoded: 2KiB, inspect_hold: 1s}\n"
        + written(MACHINE),
    )

    assert found.shutdown.revoke is True
    assert (found.limits.inspect_raw, found.limits.inspect_decoded, found.limits.inspect_hold) == (1024, 2048, 1.0)


def test_what_a_variable_holds_is_never_a_template(folder):
    environ = ENVIRON | {"BRACES": "{{{connection.name}}}"}
    text_ = written(MACHINE + "client_id: {env: BRACES}", "settings: {a: {env: BRACES}}")

    found = connection(folder, text_, environ)

    assert found.iclient.client_id == literal("{{{connection.name}}}")
    assert found.settings == (("a", "{{{connection.name}}}"),)


def test_nothing_of_a_definition_shows_a_secret(folder):
    lines = MACHINE + "client_id: a\nsecrets: {a: {env: SECRET}}\njwt: {algorithm: HS256, secret: {env: SECRET}}"
    write(
        folder,
        written(lines, "secrets: {a: {env: SECRET}}\nrefresh_token: {env: SECRET}").replace(
            "    refresh", "    x-refresh"
        ),
    )

    found = load([folder / "f.yaml"], ENVIRON)

    assert "canary" not in repr(found)
