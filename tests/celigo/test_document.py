"""What the import makes of all the rest: rules, placements, headers, placeholders, and what it says about them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.celigo.placeholders import Names, UntranslatableError, translated
from proxy.celigo.resources import NotExportError, read
from proxy.exchange.classify import Classifier
from proxy.exchange.inspection import Bounds
from proxy.exchange.recorded import parse_recorded
from proxy.exchange.verdict import explain
from tests.celigo.exports import MASK, connection, iclient, loaded, made
from tests.cli.command import iclient_proxy

NAMES = Names({"tenant": "tenant"}, {"key": "key"}, {"shop": "shop", "User Name": "User_Name"}, {"pin": "pin"}, ",")


def is_auth_error(definitions, status, body):
    [found] = definitions.connections
    data = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n\r\n{json.dumps(body)}".encode()
    seen = explain(Classifier(found.auth_errors), found.replay, Bounds(65536, 262144, 2.0), parse_recorded(data))
    return seen.rule is not None


@pytest.mark.parametrize(
    ("fields", "yes", "no"),
    [
        (
            {"failPath": "errors[0].code", "failValues": ["601", "602"]},
            [(200, {"errors": [{"code": "601"}]}), (401, {})],
            [(200, {"errors": [{"code": "610"}]}), (403, {})],
        ),
        ({"failPath": "Response", "failValues": [210]}, [(200, {"Response": 210})], [(200, {"Response": 1})]),
        (
            {"failStatusCode": 500, "failPath": "error.message", "failValues": ["The token has, alas, expired."]},
            [(500, {"error": {"message": "The token has, alas, expired."}})],
            [(500, {"error": {"message": "Out of memory"}}), (401, {}), (500, {})],
        ),
        (
            {"failStatusCode": "400", "failPath": "error_description", "failValues": "Validation error, other"},
            [(400, {"error_description": "Validation error"}), (400, {"error_description": "other"})],
            [(400, {"error_description": "Validation"}), (401, {})],
        ),
        ({"failStatusCode": 403}, [(403, {})], [(401, {})]),
        ({"failPath": "fault.detail"}, [(200, {"fault": {"detail": "anything"}}), (401, {})], [(200, {"fault": {}})]),
        (
            {"failStatusCode": 500, "failures": [{"statusCode": 403}, {"statusCode": 400, "path": "e", "values": "x"}]},
            [(403, {}), (400, {"e": "x"})],
            [(400, {"e": "y"}), (500, {}), (401, {})],
        ),
        ({}, [(401, {})], [(403, {})]),
    ],
)  # fmt: skip
def test_a_response_is_judged_as_there(tmp_path, fields, yes, no):
    definitions, _ = loaded(tmp_path, iclient(fields), connection())

    assert [is_auth_error(definitions, *one) for one in yes] == [True] * len(yes)
    assert [is_auth_error(definitions, *one) for one in no] == [False] * len(no)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("{{{iClient.oauth2.unencrypted.tenant}}}", "{{{iclient.settings.tenant}}}"),
        ("{{iClient.key}}/{{iClient.tenant}}", "{{{iclient.secrets.key}}}/{{{iclient.settings.tenant}}}"),
        ("{{{connection.http.unencrypted.[User Name]}}}", "{{{connection.settings.User_Name}}}"),
        ('{{{join "," scope}}}', "{{{iclient.scope}}}"),
        ("{{{join scopeDelimiter connection.http.auth.oauth.scope}}}", "{{{iclient.scope}}}"),
        ('{{{join "+" scope}}}', '{{{join "+" iclient.scopes}}}'),
        ('{{{timestamp "YYYY-MM-DDTHH:mm:ssZ"}}}', '{{{timestamp "%Y-%m-%dT%H:%M:%SZ"}}}'),
        ("{{{timestamp}}}", '{{{timestamp "%Y-%m-%dT%H:%M:%SZ"}}}'),
        (
            '{{{hmac "SHA-256" connection.http.encrypted.pin "hex" (jsonStringify username)}}}',
            '{{{hmac "sha256" connection.secrets.pin "hex" (jsonSerialize connection.username)}}}',
        ),
        ('{{{base64Encode (join ":" clientId clientSecret) "utf8"}}}',
         '{{{base64Encode (join ":" iclient.client_id iclient.client_secret)}}}'),
        ("{{{query.realmId}}}", "{{{connection.callback.realmId}}}"),
    ],
)  # fmt: skip
def test_a_placeholder_means_the_same(theirs, ours):
    assert translated(theirs, NAMES) == ours


@pytest.mark.parametrize(
    "theirs",
    ["{{#if a}}x{{/if}}", "{{{aws4 a b}}}", "{{{dateAdd x 1}}}", "{{{nowhere}}}", "{{{connection.http.encrypted.no}}}",
     "{{{", "{{{}}}", '{{{timestamp "LLLL"}}}', '{{{timestamp "X" "CET"}}}', '{{{join "," (scope}}}', '{{{"x"}}}'],
)  # fmt: skip
def test_a_placeholder_without_a_counterpart_is_told(theirs):
    with pytest.raises(UntranslatableError):
        translated(theirs, NAMES)


@given(st.text(alphabet="{}[]()\"' .#abcX,=", max_size=40))
def test_no_text_breaks_the_reading_of_placeholders(text):
    try:
        said = translated(text, NAMES)
    except UntranslatableError:
        return
    assert "{{" in text or said == text


def test_what_has_no_counterpart_is_named_with_its_reason(tmp_path):
    auth = {"type": "oauth", "oauth": {"useIClientFields": True}, "token": {"tokenPaths": ["a", "b"]}}
    written = connection(auth, rateLimit={"limit": 5}, disableStrictSSL=True, somethingNew=1, headers=[
        {"name": "X-Shop", "value": "{{{#if a}}}"}, {"name": "X-Kept", "value": " yes "},
        {"name": "Authorization", "value": "Token {{{connection.http.auth.token.token}}}"},
    ])  # fmt: skip
    definitions, done = loaded(tmp_path, iclient({"accessTokenLocation": "body", "unheardOf": True}), written)

    [found] = definitions.connections
    assert [name for name, _ in found.headers] == ["X-Kept"]
    assert found.send_token_via.header.scheme == "Token"
    for part in (
        "rateLimit",
        "disableStrictSSL",
        "somethingNew",
        "unheardOf",
        "X-Shop",
        "tokenPaths",
        "accessTokenLocation",
    ):
        assert [line for line in done.notes.left if part in line], part


def test_a_basic_connection_and_a_fixed_token_need_no_iclient(tmp_path):
    basic = connection({"type": "basic", "basic": {"username": "joe", "password": MASK}}, _iClientId=None)
    fixed = connection({"type": "token", "token": {"token": MASK, "scheme": "Token"}}, _iClientId=None)
    definitions, done = loaded(tmp_path, basic, fixed)

    assert [each.iclient for each in definitions.connections] == [None, None]
    assert [each.name for each in definitions.connections] == ["acme-crm", "acme-crm-2"]
    assert [name for each in definitions.connections for name, _ in each.headers] == ["Authorization"] * 2
    assert [each.variable for each in done.notes.wanted] == ["ACME_CRM_PASSWORD", "ACME_CRM_2_TOKEN"]


@pytest.mark.parametrize("kind", ["cookie", "digest", "oauth1", "wsse", "specific", "never-heard-of"])
def test_an_authentication_that_is_no_token_is_left_out_and_said(tmp_path, kind):
    definitions, done = loaded(tmp_path, connection({"type": kind}, _iClientId=None))

    assert definitions.connections[0].iclient is None
    assert [line for line in done.notes.left if kind in line]


def test_a_signed_token_that_is_sent_as_it_is(tmp_path):
    auth = {"type": "jwtbearer", "jwt": {
        "signatureMethod": "hmac-sha256", "secret": MASK, "payload": {"iss": "me", "exp": "{{{dateAdd x 3600000}}}"},
    }}  # fmt: skip
    definitions, done = loaded(
        tmp_path,
        connection(auth, _iClientId=None),
        secrets={"ACME_CRM_JWT_SECRET": "canary-of-thirty-two-bytes-or-more"},
    )

    assert definitions.connections[0].iclient.grant_type == "self_signed_jwt"
    assert [line for line in done.notes.guessed if "exp" in line]


def test_resources_are_found_however_they_are_wrapped():
    one, other = iclient({}), connection()
    wrapped = json.dumps({"export": [{"iClients": [one]}, {"connections": {"a": other}}, {"_id": "f", "type": "ftp"}]})
    found = read([("a.json", wrapped), ("b.json", json.dumps(one))])

    assert (len(found.iclients), len(found.connections), len(found.others)) == (2, 1, 1)


def test_a_secret_that_an_export_shows_is_not_written():
    done = made(
        iclient({"clientSecret": "canary-secret", "encrypted": {"k": "canary-secret"}}),
        connection({"type": "basic", "basic": {"username": "u", "password": "canary-secret"}}),
    )

    assert "canary-secret" not in done.text
    assert {each.variable for each in done.notes.wanted} == {"ACME_CLIENT_SECRET", "ACME_K", "ACME_CRM_PASSWORD"}


@pytest.mark.parametrize("text", ["nothing", "[]", "{}", '{"a": 1}', "[" * 100000])
def test_a_file_without_resources_says_what_is_expected(text):
    with pytest.raises(NotExportError, match=r"^x\.json:"):
        read([("x.json", text)])


async def test_the_command_writes_definitions_that_pass_check(tmp_path):
    (tmp_path / "i.json").write_text(json.dumps([iclient({"scope": ["a"]}), connection()]))

    done = await iclient_proxy("import", "celigo", "i.json", "-o", "out.yaml", cwd=tmp_path)
    again = await iclient_proxy("import", "celigo", "i.json", "-o", "out.yaml", cwd=tmp_path)
    checked = await iclient_proxy(
        "check", "--config", "out.yaml", cwd=tmp_path, environment={"ACME_CLIENT_SECRET": "canary-s"}
    )
    piped = await iclient_proxy("import", "celigo", "-", cwd=tmp_path, stdin=(tmp_path / "i.json").read_text())
    broken = await iclient_proxy("import", "celigo", "-", cwd=tmp_path, stdin="{")

    assert (done.status, done.out) == (0, "")
    assert "ACME_CLIENT_SECRET" in done.err
    assert "scopes: ['a'] would" in done.err
    assert (again.status, checked.status, piped.status, broken.status) == (2, 0, 0, 65), checked.err
    assert piped.out == (tmp_path / "out.yaml").read_text()
