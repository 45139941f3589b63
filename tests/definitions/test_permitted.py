import pytest

from proxy.access_token import AccessToken
from proxy.definitions.models import Connection, IClient
from proxy.definitions.templates.permitted import Place, check_place
from proxy.definitions.templates.placeholders import Ambient, TemplateMap, compile_template, render
from proxy.definitions.templates.scope import connection_scope, iclient_scope
from proxy.definitions.templates.urls import compile_url
from proxy.secret import Secret

REQUESTS = {
    Place.TOKEN_REQUEST, Place.REFRESH_REQUEST, Place.REVOCATION_REQUEST, Place.TOKEN_URL, Place.REVOCATION_URL,
}  # fmt: skip

ICLIENT = IClient(
    name="acme",
    client_id=compile_template("app-{{{connection.settings.tenant}}}-{{{iclient.settings.region}}}"),
    client_secret=Secret("canary-client-secret"),
    grant_type="client_credentials",
    client_auth="client_secret_basic",
    valid_domains=("acme.example",),
    settings=(("region", "eu"),),
    secrets=(("pin", Secret("canary-pin")),),
)
CONNECTION = Connection(
    name="crm",
    iclient=ICLIENT,
    base_url="https://api.acme.example",
    username="ada",
    settings=(("tenant", "t1"),),
    secrets=(("key", Secret("canary-key")),),
    scopes=("read", "write"),
)
SCOPE = {
    "connection": connection_scope(
        CONNECTION, token=AccessToken(Secret("canary-token"), 1, {"instance_url": "https://i"}, {"realmId": "7"})
    ),
    "iclient": iclient_scope(ICLIENT, CONNECTION, redirect_url="https://cb", jwt=lambda: Secret("canary-jwt")),
}


def codes(path, place, scope=None):
    return [code for code, _ in check_place(compile_template(f"{{{{{{{path}}}}}}}"), place, scope)]


@pytest.mark.case("C-42")
@pytest.mark.parametrize(
    "path",
    ["iclient.client_secret", "iclient.secrets.pin", "iclient.jwt.token", "connection.token.refresh_token",
     "base64Encode iclient.client_secret", 'join ":" iclient.name (hash "sha256" "hex" iclient.secrets.pin)',
     "jsonSerialize iclient.secrets"],
)  # fmt: skip
def test_a_secret_of_the_client_stands_in_requests_to_the_token_endpoint_only(path):
    refused = {place for place in Place if "secret_in_untrusted_template" in codes(path, place)}

    assert refused == set(Place) - REQUESTS


@pytest.mark.case("C-42")
@pytest.mark.parametrize("path", ["connection.secrets.key", "connection.password", "connection.token.access_token"])
def test_a_secret_of_the_connection_stands_in_its_headers_too(path):
    refused = {place for place in Place if "secret_in_untrusted_template" in codes(path, place)}

    assert refused == set(Place) - REQUESTS - {Place.CONNECTION_HEADERS}


@pytest.mark.case("C-42")
def test_a_secret_stands_in_the_path_of_a_token_url_and_never_in_its_host():
    allowed = compile_url("https://acme.example/{{{iclient.secrets.pin}}}?s={{{iclient.client_secret}}}")
    refused = compile_url("https://{{{iclient.secrets.pin}}}.acme.example/")

    assert check_place(allowed, Place.TOKEN_URL, SCOPE) == []
    assert [code for code, _ in check_place(refused, Place.TOKEN_URL, SCOPE)] == ["secret_in_untrusted_template"]


def test_a_code_is_known_only_while_it_is_redeemed():
    assert codes("authorization.code", Place.TOKEN_REQUEST) == []
    assert codes("authorization.code", Place.REFRESH_REQUEST) == ["placeholder_unresolved"]


@pytest.mark.parametrize("path", ["connection.token.fields.instance_url", "connection.callback.realmId"])
def test_what_comes_with_a_token_stands_nowhere_where_there_is_none_yet(path):
    refused = {place for place in Place if codes(path, place)}

    assert refused == {
        Place.CLIENT_ID, Place.REDIRECT_URL, Place.AUTHORIZATION_URL, Place.AUTHORIZATION_PARAMS,
        Place.DEVICE_AUTHORIZATION_URL,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("iclient.client_id", Place.CLIENT_ID),
        ("iclient.redirect_url", Place.REDIRECT_URL),
        ("connection.base_url", Place.BASE_URL),
    ],
)
def test_a_key_does_not_stand_for_itself(path, place):
    assert codes(path, place) == ["placeholder_unresolved"]


@pytest.mark.parametrize("helper", ["uuid", 'timestamp "X"'])
def test_what_is_the_same_in_every_request_has_no_helper_that_varies(helper):
    assert codes(helper, Place.CLIENT_ID) == ["template_invalid"]
    assert codes(helper, Place.JWT) == []


def test_only_a_base_url_begins_with_a_placeholder():
    url = compile_url("{{{connection.token.fields.instance_url}}}/v1")

    assert check_place(url, Place.BASE_URL, SCOPE) == []
    assert [code for code, _ in check_place(url, Place.TOKEN_URL, SCOPE)] == ["template_invalid"]


@pytest.mark.case("C-40")
@pytest.mark.parametrize(
    ("path", "code", "said"),
    [
        ("iClient.client_id", "placeholder_unresolved", "did you mean iclient?"),
        ("settings.tenant", "placeholder_unresolved", "a path begins with connection, iclient, authorization"),
        ("connection.setings.tenant", "placeholder_unresolved", "did you mean settings?"),
        ("connection.settings.tennant", "placeholder_unresolved", "did you mean tenant?"),
        ("iclient.secrets.pim", "placeholder_unresolved", "iclient.secrets has pin"),
        ("connection.password", "placeholder_unresolved", "password is not written"),
        ("connection.name.first", "placeholder_unresolved", "connection.name has no fields"),
        ("connection.settings", "wrong_type", "name a field"),
        ("connection", "wrong_type", "name one of its fields"),
        ("base64Encode connection.settings", "wrong_type", "name a field"),
        ("iclient.scopes", "wrong_type", "write iclient.scope"),
    ],
)
def test_a_path_that_stands_for_nothing_is_a_fault_where_it_can_be_known(path, code, said):
    [(found, message)] = check_place(
        TemplateMap((("k", compile_template(f"{{{{{path}}}}}")),)), Place.TOKEN_REQUEST, SCOPE
    )

    assert found == code
    assert said in message


@pytest.mark.parametrize(
    "path",
    ["connection.name", "connection.settings.tenant", "connection.secrets.key", "connection.token.fields.anything",
     "connection.callback.anything", "iclient.scope", 'join "," iclient.scopes', "iclient.scopes.0",
     "iclient.jwt.token", "iclient.client_id", "iclient.redirect_url", "jsonSerialize connection.settings",
     "authorization.state"],
)  # fmt: skip
def test_a_path_that_is_or_may_be_there_is_no_fault(path):
    assert codes(path, Place.TOKEN_REQUEST, SCOPE) == []


@pytest.mark.parametrize(
    ("path", "meaning"),
    [
        ("connection.name", "crm"),
        ("connection.base_url", "https://api.acme.example"),
        ("connection.username", "ada"),
        ("connection.secrets.key", "canary-key"),
        ("connection.token.access_token", "canary-token"),
        ("connection.token.fields.instance_url", "https://i"),
        ("connection.callback.realmId", "7"),
        ("iclient.name", "acme"),
        ("iclient.client_id", "app-t1-eu"),
        ("iclient.client_secret", "canary-client-secret"),
        ("iclient.scope", "read write"),
        ("iclient.redirect_url", "https://cb"),
        ("iclient.jwt.token", "canary-jwt"),
    ],
)
def test_the_scope_has_what_the_reference_page_lists(path, meaning):
    assert render(compile_template(f"{{{{{path}}}}}"), SCOPE, Ambient(0.0, bytes)) == meaning


KEYS = {
    Place.TOKEN_REQUEST: "access_token_request",
    Place.REFRESH_REQUEST: "refresh_token_request",
    Place.REVOCATION_REQUEST: "revocation_request",
    Place.TOKEN_URL: "token_url",
    Place.TOKEN_URL_HOST: "the host of a URL",
    Place.REVOCATION_URL: "revocation_url",
    Place.DEVICE_AUTHORIZATION_URL: "device_authorization_url",
    Place.AUTHORIZATION_URL: "authorization_url",
    Place.AUTHORIZATION_PARAMS: "authorization_params",
    Place.REDIRECT_URL: "redirect_url",
    Place.CLIENT_ID: "client_id",
    Place.JWT: "jwt",
    Place.CONNECTION_HEADERS: "headers",
    Place.BASE_URL: "base_url",
}


@pytest.mark.parametrize("place", Place)
def test_a_fault_calls_its_place_by_the_key_that_the_operator_wrote(place):
    assert place.value == KEYS[place]
    for path in ("iclient.client_secret", "connection.secrets.key"):
        for code, message in check_place(compile_template(f"{{{{{{{path}}}}}}}"), place):
            assert code == "secret_in_untrusted_template"
            assert message.endswith(f"not in {KEYS[place]}")


NAMES = [
    *(f"connection.{name}" for name in ("name", "base_url", "username", "password")),
    *(f"connection.{group}.x" for group in ("settings", "secrets", "params", "callback", "token.fields")),
    "connection.token.access_token",
    "connection.token.refresh_token",
    *(f"iclient.{name}" for name in ("name", "client_id", "client_secret", "scope", "redirect_url", "jwt.token")),
    *(f"iclient.{group}.x" for group in ("settings", "secrets")),
    *(f"authorization.{name}" for name in ("code", "code_verifier", "redirect_url", "state")),
]


@pytest.mark.parametrize("path", NAMES)
def test_every_name_of_the_format_is_known_and_none_beside_it(path):
    assert codes(path, Place.TOKEN_REQUEST) == []
    group, _, _ = path.rpartition(".")
    if group not in {"connection.settings", "connection.secrets", "connection.params", "connection.callback",
                     "connection.token.fields", "iclient.settings", "iclient.secrets"}:  # fmt: skip
        assert codes(f"{group}.zzz", Place.TOKEN_REQUEST) == ["placeholder_unresolved"]


@pytest.mark.parametrize("group", ["settings", "secrets", "params", "callback", "token.fields"])
def test_a_helper_takes_a_map_of_the_operators_whole_and_nothing_else_does(group):
    assert codes(f"jsonSerialize connection.{group}", Place.TOKEN_REQUEST) == []
    assert codes(f"connection.{group}", Place.TOKEN_REQUEST) == ["wrong_type"]
    assert codes("jsonSerialize connection", Place.TOKEN_REQUEST) == ["wrong_type"]


@pytest.mark.parametrize(
    ("text", "place", "expected"),
    [
        ("https://acme.example/{{{iclient.nope}}}", Place.TOKEN_URL, {"placeholder_unresolved"}),
        ("https://acme.example/?a={{{iclient.nope}}}", Place.TOKEN_URL, {"placeholder_unresolved"}),
        ("https://{{{iclient.nope}}}.acme.example/", Place.TOKEN_URL, {"placeholder_unresolved"}),
        ("https://acme.example/{{{iclient.client_secret}}}", Place.AUTHORIZATION_URL, {"secret_in_untrusted_template"}),
        ("https://{{{connection.settings.tenant}}}.acme.example/", Place.TOKEN_URL, set()),
        ("https://{{{connection.token.fields.x}}}.acme.example/", Place.AUTHORIZATION_URL, {"placeholder_unresolved"}),
        ("https://{{{uuid}}}.acme.example/", Place.BASE_URL, {"template_invalid"}),
        ("{{{iclient.secrets.pin}}}/", Place.BASE_URL, {"secret_in_untrusted_template"}),
    ],
)
def test_every_part_of_a_url_is_checked_and_its_host_as_a_host(text, place, expected):
    assert {code for code, _ in check_place(compile_url(text), place, SCOPE)} == expected


def test_what_is_not_known_yet_is_no_fault():
    without_iclient = {"connection": SCOPE["connection"]}

    assert codes("iclient.name", Place.TOKEN_REQUEST, without_iclient) == []
    assert codes("connection.base_url", Place.TOKEN_REQUEST, {"connection": {"name": "crm"}}) == []
    assert codes("connection.username", Place.TOKEN_REQUEST, {"connection": {"name": "crm"}}) == [
        "placeholder_unresolved"
    ]


def test_a_fault_names_what_there_is_or_that_there_is_nothing():
    scope = {"connection": {"settings": {}, "params": {f"p{number:02d}": "x" for number in range(20)}}}

    [(_, none)] = check_place(compile_template("{{{connection.settings.a}}}"), Place.TOKEN_REQUEST, scope)
    [(_, many)] = check_place(compile_template("{{{connection.params.zzz}}}"), Place.TOKEN_REQUEST, scope)

    assert none.endswith("there are no connection.settings")
    assert many.endswith("connection.params has " + ", ".join(f"p{number:02d}" for number in range(12)))


def test_who_names_a_map_is_told_its_fields():
    [(code, message)] = check_place(compile_template("{{{connection.token}}}"), Place.TOKEN_REQUEST)

    assert code == "wrong_type"
    assert message.endswith("name one of its fields: access_token, refresh_token, fields")


def test_an_assertion_does_not_stand_in_itself():
    assert codes("iclient.jwt.token", Place.JWT) == ["secret_in_untrusted_template"]


def test_what_a_key_depends_on_is_that_path_alone():
    assert codes("iclient.name", Place.REDIRECT_URL) == []
    assert codes("connection.name", Place.BASE_URL) == []
    assert codes("iclient.name", Place.CLIENT_ID) == []
    assert codes("iclient.name", Place.JWT) == []
    assert codes("iclient.redirect_url", Place.TOKEN_REQUEST, {"iclient": {"name": "acme"}}) == []
    assert codes("iclient.client_id", Place.TOKEN_REQUEST, {"iclient": {"name": "acme"}}) == ["placeholder_unresolved"]
