import base64
import json
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.definitions.templates.placeholders import RenderError
from proxy.definitions.templates.urls import compile_url
from proxy.oauth.grant import Authorization, Grant
from proxy.oauth.request import own_grant, refresh
from proxy.oauth.revoke import revocation
from proxy.secret import Secret
from tests.oauth.answers import connection, fields, header, iclient, jwt, material, override

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
SPITEFUL = '"},{"a":"b\\&grant_type=password=\r\n{{{iclient.client_secret}}}'


def asked(*, way="client_secret_post", of=None, grant=None, settings=None, **written):
    """Return the access token request of an iClient whose request is written so."""
    client = iclient(client_auth=way, access_token_request=override(**written), **(settings or {}))
    given = {} if grant is None else {"grant": grant}
    return own_grant(material(client, of=of and connection(client, **of), **given))


def test_a_body_replaces_the_default_one():
    request = asked(way="client_secret_basic", body={"a": "1", "who": "{{{iclient.client_id}}}"})

    assert request.body == b"a=1&who=app"
    assert len(header(request, "authorization")) == 1


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        ({"a": "1"}, b"a=1&client_id=app&client_secret=canary-secret"),
        ({"client_id": "other"}, b"client_id=other&client_secret=canary-secret"),
        ({"client_secret": "x", "client_id": "y"}, b"client_secret=x&client_id=y"),
        ({"a": "1", "client_id": None}, b"a=1&client_secret=canary-secret"),
        ({"a": "1", "client_id": None, "client_secret": None}, b"a=1"),
    ],
)
def test_client_secret_post_adds_what_the_body_does_not_name(body, sent):
    assert asked(body=body).body == sent


@pytest.mark.parametrize(
    ("way", "sent"),
    [("none", b"a=1"), ("tls_client_auth", b"a=1&client_id=app"), ("client_secret_basic", b"a=1")],
)
def test_a_replaced_body_has_the_id_only_where_the_authentication_needs_it(way, sent):
    assert asked(way=way, body={"a": "1"}).body == sent


def test_extra_is_added_and_null_removes():
    request = asked(extra={"audience": "api", "grant_type": "odd", "client_secret": None})

    assert request.body == b"grant_type=odd&client_id=app&audience=api"


def test_a_refresh_has_a_scope_only_by_extra():
    client = iclient(refresh_token_request=override(extra={"scope": "{{{iclient.scope}}}"}))
    made = material(client, of=connection(client, scopes=("a", "b")), grant=Grant(refresh_token=Secret("r")))

    assert refresh(made).body == b"grant_type=refresh_token&refresh_token=r&scope=a+b"


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_fields_of_get_and_delete_go_into_the_query(method):
    request = asked(method=method, url="https://auth.example.com/t?tenant=1", extra={"x y": "a/b c"})

    assert (request.method, request.body) == (method, b"")
    assert request.url == (
        "https://auth.example.com/t?tenant=1"
        "&grant_type=client_credentials&client_id=app&client_secret=canary-secret&x%20y=a%2Fb%20c"
    )
    assert header(request, "content-type") == []


def test_a_query_format_leaves_the_body_empty():
    request = asked(way="client_secret_basic", method="POST", body_format="query", body={"a": "1"})

    assert (request.method, request.url, request.body) == ("POST", "https://auth.example.com/token?a=1", b"")
    assert header(request, "content-type") == []


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://auth.example.com/t?", "https://auth.example.com/t?a=1"),
        ("https://auth.example.com/t?b=2&", "https://auth.example.com/t?b=2&a=1"),
        ("https://auth.example.com/t?%61=0&b=2", "https://auth.example.com/t?b=2&a=1"),
    ],
)
def test_no_parameter_is_repeated(url, sent):
    assert asked(way="none", method="GET", url=url, body={"a": "1"}).url == sent


def test_a_json_body_keeps_types_and_nesting():
    request = asked(
        body_format="json",
        body={"user": {"name": "{{{connection.username}}}", "tags": ["a", "{{{connection.name}}}"]}, "n": 1, "t": True},
        of={"username": 'a"b\\'},
    )

    assert header(request, "content-type") == ["application/json"]
    assert request.body.decode() == (
        '{"user":{"name":"a\\"b\\\\","tags":["a","crm"]},"n":1,"t":true,"client_id":"app","client_secret":"canary-secret"}'
    )


def test_numbers_and_booleans_of_a_form_are_written_as_in_json():
    assert asked(way="none", body={"n": 1, "f": 1.5, "t": True}).body == b"n=1&f=1.5&t=true"


@pytest.mark.case("C-44")
@pytest.mark.parametrize("written", [{"body": {"a": {"b": "c"}}}, {"extra": {"a": ["b"]}}])
@pytest.mark.parametrize("form", [{}, {"body_format": "query"}, {"body_format": "json", "method": "GET"}])
def test_a_form_has_no_place_for_nested_values(written, form):
    with pytest.raises(RenderError) as raised:
        asked(**written, **form)

    assert raised.value.code == "override_body_invalid"


def test_headers_replace_and_remove_whatever_their_case():
    request = asked(
        way="client_secret_basic",
        headers={"ACCEPT": "*/*", "user-agent": None, "X-Tenant": "{{{connection.settings.tenant}}}"},
        of={"settings": (("tenant", "t 1"),)},
    )

    assert [name for name, _ in request.headers] == [
        "ACCEPT", "Accept-Encoding", "Content-Type", "Authorization", "X-Tenant",
    ]  # fmt: skip
    assert (header(request, "accept"), header(request, "x-tenant")) == (["*/*"], ["t 1"])


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "a\0b", "ü"])
def test_a_value_does_not_break_out_of_a_header(value):
    with pytest.raises(RenderError) as raised:
        asked(headers={"X-A": "{{{connection.settings.a}}}"}, of={"settings": (("a", value),)})

    assert raised.value.code == "placeholder_unsafe"
    assert value not in raised.value.message


@given(ANY_TEXT, st.sampled_from(["form", "json", "query"]))
def test_a_value_does_not_break_out_of_a_body(value, body_format):
    request = asked(
        way="none",
        body_format=body_format,
        body={"a": "{{{connection.settings.a}}}", "b": "<{{{connection.secrets.b}}}>"},
        of={"settings": (("a", value),), "secrets": (("b", Secret(value)),)},
    )

    expected = {"a": value, "b": f"<{value}>"}
    match body_format:
        case "json":
            assert json.loads(request.body) == expected
        case "form":
            assert fields(request) == expected
        case _:
            query = parse_qsl(urlsplit(request.url).query, keep_blank_values=True, strict_parsing=True)
            assert query == list(expected.items())


@pytest.mark.case("C-41")
@pytest.mark.parametrize("body_format", ["form", "json"])
def test_a_value_is_rendered_once(body_format):
    request = asked(
        way="none",
        body_format=body_format,
        body={"a": "{{{connection.settings.a}}}"},
        of={"settings": (("a", SPITEFUL),)},
    )

    assert (fields(request) if body_format == "form" else json.loads(request.body)) == {"a": SPITEFUL}
    assert b"canary" not in request.body


def test_the_url_may_hold_the_token_and_a_value_does_not_leave_its_segment():
    client = iclient(
        refresh_token_request=override(
            url="https://auth.example.com/{{{connection.settings.tenant}}}/r?t={{{connection.token.refresh_token}}}"
        )
    )
    made = material(
        client,
        of=connection(client, settings=(("tenant", "a/../b?c"),)),
        grant=Grant(refresh_token=Secret("r&x=1#")),
    )

    assert refresh(made).url == "https://auth.example.com/a%2F..%2Fb%3Fc/r?t=r%26x%3D1%23"


def test_a_host_made_of_a_value_is_said_to_be_one():
    settings = {"token_url": compile_url("https://{{{connection.settings.shop}}}.example.com/token")}

    request = asked(settings=settings, of={"settings": (("shop", "acme"),)})

    assert (request.url, request.host_from_placeholder) == ("https://acme.example.com/token", True)
    for value in ("evil.net/", "a@b", "x#", "[::1]"):
        with pytest.raises(RenderError):
            asked(settings=settings, of={"settings": (("shop", value),)})


def test_a_path_that_stands_for_nothing_is_an_error_not_empty_text():
    with pytest.raises(RenderError) as raised:
        asked(body={"a": "{{{connection.token.fields.absent}}}"})

    assert raised.value.code == "placeholder_unresolved"


def test_everything_that_was_granted_can_be_named():
    grant = Grant(
        refresh_token=Secret("r"),
        access_token=Secret("a"),
        fields={"instance": {"url": "https://i.example"}},
        callback={"realmId": "7"},
    )
    body = {
        "r": "{{{connection.token.refresh_token}}}",
        "a": "{{{connection.token.access_token}}}",
        "i": "{{{connection.token.fields.instance.url}}}",
        "c": "{{{connection.callback.realmId}}}",
    }

    assert fields(asked(way="none", body=body, grant=grant)) == {"r": "r", "a": "a", "i": "https://i.example", "c": "7"}


def test_a_code_can_be_sent_under_other_names():
    body = {
        "auth": "{{{authorization.code}}}",
        "v": "{{{authorization.code_verifier}}}",
        "s": "{{{authorization.state}}}",
    }
    client = iclient(grant_type="authorization_code", client_auth="none", access_token_request=override(body=body))
    code = Authorization(Secret("c"), Secret("v"), "https://x.example/cb", "st")

    assert own_grant(material(client, authorization=code)).body == b"auth=c&v=v&s=st"


def test_credentials_may_go_into_a_header_of_the_operators_making():
    request = asked(
        way="none",
        headers={"Authorization": "Basic {{{base64Encode (join ':' iclient.client_id iclient.client_secret)}}}"},
    )

    [value] = header(request, "authorization")
    assert base64.b64decode(value.removeprefix("Basic ")) == b"app:canary-secret"


@pytest.mark.parametrize(
    ("hint", "sent"), [("refresh_token", b"t=of+this+request&other=a"), ("access_token", b"t=r&other=of+this+request")]
)
def test_a_revocation_names_its_token_by_its_kind(hint, sent):
    client = iclient(
        revocation_url=compile_url("https://auth.example.com/revoke"),
        revocation_request=override(
            body={"t": "{{{connection.token.refresh_token}}}", "other": "{{{connection.token.access_token}}}"}
        ),
    )
    made = material(client, grant=Grant(refresh_token=Secret("r"), access_token=Secret("a")))

    assert revocation(made, Secret("of this request"), hint).body == sent


def test_a_revocation_may_be_a_delete_of_the_token_itself():
    client = iclient(
        revocation_request=override(
            method="DELETE",
            url="https://auth.example.com/tokens/{{{connection.token.access_token}}}",
            extra={"token": None, "token_type_hint": None},
        )
    )

    request = revocation(material(client), Secret("a/b"), "access_token")

    assert (request.method, request.url, request.body) == ("DELETE", "https://auth.example.com/tokens/a%2Fb", b"")


@pytest.mark.parametrize("way", ["private_key_jwt", "client_secret_jwt"])
def test_a_client_assertion_is_added_to_a_replaced_body_that_has_none(way):
    request = asked(way=way, settings={"jwt": jwt()}, body={"grant_type": "client_credentials"})

    assert list(fields(request)) == ["grant_type", "client_id", "client_assertion_type", "client_assertion"]


@pytest.mark.parametrize(
    "written",
    [
        {"body": {"assertion": "{{{iclient.jwt.token}}}"}},
        {"headers": {"Authorization": "Bearer {{{iclient.jwt.token}}}"}},
        {"url": "https://auth.example.com/t?jwt={{{iclient.jwt.token}}}"},
        {"body": {"client_assertion": "{{{iclient.jwt.token}}}", "client_id": "{{{iclient.client_id}}}"}},
    ],
)
def test_an_assertion_that_the_operator_places_is_the_only_one(written):
    request = asked(way="private_key_jwt", settings={"jwt": jwt()}, **written)

    everything = request.url + str(request.headers) + request.body.decode()
    assert everything.count("eyJ") == 2  # header and payload of one
    assert "client_assertion_type" not in everything
