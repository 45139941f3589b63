"""What is known of providers, held against the facts of `provider_facts.csv`: requests and refusals, not our output."""

import base64
import csv
import json
import re
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from proxy.definitions.iclients import ICLIENT
from proxy.definitions.json_path import compile_path
from proxy.definitions.load import load
from proxy.definitions.providers import names, parsed, preset
from proxy.exchange.classify import OPEN, Classifier
from proxy.exchange.json_document import JsonDocument
from proxy.oauth.grant import Authorization, Grant
from proxy.oauth.material import Material
from proxy.oauth.request import own_grant, refresh
from proxy.secret import Secret
from proxy.wire.heads import parse_response
from proxy.wire.request import HeadLimits

HERE = Path(__file__).parent
FOLDER = HERE.parents[1] / "proxy" / "definitions" / "presets"
with (HERE / "provider_facts.csv").open(encoding="utf-8") as file:
    FACTS = {row["provider"]: row for row in csv.DictReader(file)}
REDIRECT = "https://proxy.example/oauth/callback/c"
KEY = (
    rsa.generate_private_key(65537, 3072)
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode("ascii")
)
ENVIRON = {"CANARY": "canary-secret", "SAML": "canary-saml", "KEY": KEY}
SECRET = {"env": "CANARY"}
# What each grant sends by RFC 6749 and RFC 7523, whoever it is sent to.
BY_GRANT = {
    "authorization_code": {
        "grant_type": "authorization_code",
        "code": "canary-code",
        "redirect_uri": REDIRECT,
        "code_verifier": "canary-verifier",
    },
    "client_credentials": {"grant_type": "client_credentials", "scope": True},
    "password": {"grant_type": "password", "username": "ann", "password": "canary-secret", "scope": True},
    "jwt_bearer": {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": "a JWT"},
}
DELIMITERS = {"space": " ", "comma": ",", "plus": "+"}


def written(provider, grant, api=None):
    """Return a definition that answers all that a preset asks, by its own examples."""
    known = preset(provider)
    auth = known.grants[grant].entries.get("client_auth") or known.iclient.entries["client_auth"]
    by_secret = auth.text in {"client_secret_basic", "client_secret_post"} and grant != "self_signed_jwt"
    iclient = {"provider": provider, "grant_type": grant, "client_id": "app", "scopes": ["one", "two"]}
    iclient["params"] = {name: param.example for name, param in known.params.items()}
    connection = {"iclient": iclient}
    if api is not None:
        iclient["api"] = api
    if by_secret or provider in {"stripe-apps", "tiktok-business"}:
        iclient["client_secret"] = SECRET
    if grant == "self_signed_jwt":
        del iclient["scopes"]
    if "jwt" in known.grants[grant].entries or grant == "jwt_bearer":
        iclient["jwt"] = {"private_key": {"env": "KEY"}}
        if "jwt" not in known.grants[grant].entries:
            iclient["jwt"]["algorithm"] = "RS256"
    if grant == "password" or "{{{connection.username}}}" in (FOLDER / f"{provider}.yaml").read_text(encoding="utf-8"):
        connection |= {"username": "ann"} if grant in {"password", "jwt_bearer"} else {}
    if grant == "password":
        connection["password"] = SECRET
    if grant == "refresh_token":
        connection["refresh_token"] = SECRET
    if grant == "token_exchange":
        iclient["token_exchange"] = {"subject_token": SECRET}
    if provider == "sap-successfactors":
        connection["secrets"] = {"saml_assertion": {"env": "SAML"}}
    return {"connections": {"c": connection}}


def only(tmp_path, definition):
    path = tmp_path / "iclient-proxy.yaml"
    path.write_text(json.dumps(definition), encoding="utf-8")
    loaded = load([path], ENVIRON)
    assert loaded.warnings == ()
    (connection,) = loaded.definitions.connections
    return connection


def material(connection):
    verifier = Secret("canary-verifier") if connection.iclient.pkce != "off" else None
    return Material(
        connection=connection,
        iclient=connection.iclient,
        now=1_790_000_000.0,
        entropy=bytes,
        redirect_url=REDIRECT,
        grant=Grant(refresh_token=Secret("canary-refresh")),
        authorization=Authorization(Secret("canary-code"), verifier, REDIRECT, "state"),
    )


def answered(text, provider):
    """Put the examples of a preset into `{param}` of a fact."""
    return re.sub(r"\{(\w+)\}", lambda found: preset(provider).params[found[1]].example, text)


def with_extra(fields, extra, provider):
    """Return fields with those of a fact added: `a=1&-b` sets `a` and takes `b` away."""
    fields = dict(fields)
    for part in filter(None, answered(extra, provider).split("&")):
        if part.startswith("-"):
            fields.pop(part[1:], None)
        else:
            name, _, value = part.partition("=")
            fields[name] = value
    return fields


def expected_fields(fact):
    fields = dict(BY_GRANT[fact["grant"]])
    if fields.pop("scope", False):
        fields["scope"] = DELIMITERS[fact["delimiter"]].join(["one", "two"])
    if fact["pkce"] == "no":
        fields.pop("code_verifier", None)
    return fields


def credentials(fact):
    match fact["auth"]:
        case "body":
            return {"client_id": "app", "client_secret": "canary-secret"}, None
        case "basic":
            return {}, "Basic " + base64.b64encode(b"app:canary-secret").decode("ascii")
        case "user":
            return {}, "Basic " + base64.b64encode(b"canary-secret:").decode("ascii")
        case "bearer":
            return {}, "Bearer a JWT"
        case "assertion":
            kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
            return {"client_id": "app", "client_assertion_type": kind, "client_assertion": "a JWT"}, None
        case _:
            return {"client_id": "app"}, None


def sent(request):
    """Return what a request carries: method, URL without what the fields add, fields, format, credentials."""
    headers = {name.lower(): value for name, value in request.headers}
    kind = headers.get("content-type")
    if kind == "application/json":
        fields, form = json.loads(request.body), "json"
    elif kind is not None:
        fields, form = (
            dict(parse_qsl(request.body.decode("ascii"), keep_blank_values=True, strict_parsing=True)),
            "form",
        )
    else:
        fields, form = dict(parse_qsl(urlsplit(request.url).query, keep_blank_values=True)), "query"
    masked = {name: "a JWT" if is_jwt(value) else value for name, value in fields.items()}
    authorization = headers.get("authorization")
    if authorization is not None and is_jwt(authorization.removeprefix("Bearer ")):
        authorization = "Bearer a JWT"
    return masked, form, authorization


def is_jwt(text):
    return isinstance(text, str) and re.fullmatch(r"eyJ[\w-]+\.eyJ[\w-]+\.[\w-]+", text) is not None


def head(status, *fields):
    lines = "".join(f"{field}\r\n" for field in fields)
    raw = f"HTTP/1.1 {status} X\r\n{lines}Content-Length: 0\r\n\r\n".encode()
    return parse_response(raw, HeadLimits(65536, 16384, 128, 16384))


def body(path, value):
    """Return the bytes of a JSON document that has `value` at the end of a path, and nothing else."""
    document = value
    for step in reversed(compile_path(path).steps):
        document = [document] if str(step) == "0" else {str(step): document}
    return JsonDocument(json.dumps(document).encode())


def judged(connection, status, path="", value="x"):
    classifier = Classifier(connection.auth_errors)
    if path == "WWW-Authenticate":
        return classifier.judge(head(status, f'WWW-Authenticate: Bearer error="{value}"'))
    verdict = classifier.judge(head(status))
    if verdict is not OPEN:
        return verdict
    return classifier.judge(head(status), body(path, value) if path else JsonDocument(b"{}"))


ALL = [
    pytest.param(name, grant, api, id=f"{name}-{api}-{grant}")
    for name in names()
    for api in preset(name).apis
    for grant in preset(name).grants
]


def test_every_provider_has_its_facts():
    assert set(names()) == set(FACTS)


@pytest.mark.parametrize(("provider", "grant", "api"), ALL)
def test_a_preset_with_its_own_examples_needs_nothing_but_the_registration(provider, grant, api, tmp_path):
    connection = only(tmp_path, written(provider, grant, api))

    assert connection.iclient.grant_type == grant
    assert connection.base_url


@pytest.mark.parametrize("provider", FACTS)
def test_the_token_request_of_a_provider_is_that_of_its_facts(provider, tmp_path):
    fact = FACTS[provider]
    connection = only(tmp_path, written(provider, fact["grant"]))

    request = own_grant(material(connection))

    own, authorization = credentials(fact)
    fields = with_extra(expected_fields(fact) | own, fact["extra"], provider)
    url = answered(fact["token_url"], provider)
    assert request.method == "POST"
    assert request.url.partition("?")[0] == url.partition("?")[0]
    assert "?" not in url or request.url == url
    assert sent(request) == (fields, fact["body"], authorization)


@pytest.mark.parametrize("provider", [name for name, fact in FACTS.items() if fact["refreshes"] == "yes"])
def test_the_refresh_of_a_provider_is_that_of_its_facts(provider, tmp_path):
    fact = FACTS[provider]
    connection = only(tmp_path, written(provider, fact["grant"]))

    request = refresh(material(connection))

    own, authorization = credentials(fact)
    fields = {"grant_type": "refresh_token", "refresh_token": "canary-refresh"} | own
    assert request.url == answered(fact["refresh_url"] or fact["token_url"], provider)
    assert sent(request) == (with_extra(fields, fact["refresh_extra"], provider), fact["body"], authorization)


@pytest.mark.parametrize("provider", FACTS)
def test_a_token_is_found_and_sent_where_the_facts_say(provider, tmp_path):
    fact = FACTS[provider]
    connection = only(tmp_path, written(provider, fact["grant"]))
    iclient, via = connection.iclient, connection.send_token_via.header

    assert (via.name, via.scheme) == (fact["header"], fact["scheme"])
    assert (iclient.access_token_path, iclient.expires_in_path) == (fact["token_path"], fact["expires"])
    assert iclient.expires_in_unit == ("at" if fact["expires"] == "expires_at" else "s")


@pytest.mark.parametrize("provider", FACTS)
def test_a_refusal_of_the_shape_of_the_facts_is_an_auth_error_and_others_are_not(provider, tmp_path):
    fact = FACTS[provider]
    connection = only(tmp_path, written(provider, fact["grant"]))

    assert judged(connection, int(fact["status"]), fact["path"], fact["value"]) is not None
    assert judged(connection, int(fact["status"]), fact["path"], "another") is None or fact["status"] == "401"
    assert judged(connection, 200) is None
    assert judged(connection, 500) is None
    assert judged(connection, 404, fact["path"] if fact["path"] != "WWW-Authenticate" else "", fact["value"]) is None
    if fact["spared"]:
        status, _, rest = fact["spared"].partition(" ")
        path, _, value = rest.partition(" ")
        assert judged(connection, int(status), path, value) is None


def test_a_preset_names_known_keys_alone_and_its_placeholders_its_own_params():
    odd = []
    for name in names():
        known = preset(name)
        nodes = [known.iclient, *known.grants.values(), *(api.iclient for api in known.apis.values())]
        odd += [f"{name}: {key}" for node in nodes for key in node.entries if key not in ICLIENT.keys]
        text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
        asked = set(re.findall(r"connection\.params\.(\w+)", text))
        odd += [f"{name}: {param}" for param in asked ^ set(known.params)]
        odd += [f"{name}: {param.name}" for param in known.params.values() if not param.fits(param.example)]
        odd += [f"{name}: {p.name}" for p in known.params.values() if p.default is not None and not p.fits(p.default)]
    assert odd == []


def test_a_preset_has_facts_and_no_prose():
    long = [
        f"{path.name}:{number}"
        for path in FOLDER.glob("*.yaml")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > 200
    ]

    assert long == []


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("surprise: 1", "unknown key 'surprise'"),
        ("verified: yesterday", "expected a month such as 2026-11, or unverified"),
        ("grants: {implicit: {}}", "implicit is not a name that is known here"),
        ("apis: {one: {title: One}}", "base_url is missing"),
        ("docs: look it up", "expected a link"),
        ('params: {a: {title: A, help: B, pattern: "(", example: C}}', "no regular expression"),
    ],
)
def test_a_preset_that_is_no_preset_is_a_mistake_of_ours(line, wrong):
    lines = {
        "title": "title: X", "category": "category: crm", "verified": "verified: unverified",
        "grants": "grants: {password: {}}", "apis": "apis: {one: {title: One, base_url: https://a.example}}",
    }  # fmt: skip
    assert parsed("x", "\n".join(lines.values()).encode()).title == "X"
    lines[line.partition(":")[0]] = line

    with pytest.raises(ValueError, match=re.escape(wrong)):
        parsed("x", "\n".join(lines.values()).encode())
