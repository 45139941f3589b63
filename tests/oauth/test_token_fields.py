import pytest

from proxy.oauth.failure import Remedy
from tests.oauth.answers import reading, token_of

DATE = "Fri, 15 Jan 2027 08:00:00 GMT"  # NOW


def test_all_other_members_of_the_answer_are_kept():
    found = reading(
        {
            "access_token": "a",
            "refresh_token": "r",
            "expires_in": 60,
            "instance_url": "https://i.example",
            "x": {"y": [1]},
        }
    )

    assert found.fields == {"expires_in": 60, "instance_url": "https://i.example", "x": {"y": [1]}}
    assert "i.example" not in repr(found)


def test_neighbours_of_a_nested_token_are_kept_without_it():
    found = reading(
        {"data": {"token": "canary-a", "api": "https://i.example", "again": {"token": "canary-r", "n": 1}}, "ok": True},
        settings={"access_token_path": "data.token", "refresh_token_path": "data.again.token"},
    )

    assert (token_of(found), found.refresh_token.reveal()) == ("canary-a", "canary-r")
    assert found.fields == {"data": {"api": "https://i.example", "again": {"n": 1}}, "ok": True}


def test_a_list_keeps_its_length_without_the_token():
    found = reading(
        {"tokens": ["canary", "other", {"access_token": "canary-2", "n": 1}]},
        settings={"access_token_path": "tokens[0]", "refresh_token_path": "tokens.2.access_token"},
    )

    assert found.fields == {"tokens": [None, "other", {"n": 1}]}


@pytest.mark.parametrize(
    ("body", "path"), [(b'"canary"', "$"), (b"canary", "$"), (b'["canary"]', "[0]"), (b'[{"t":"canary"}]', "$[0].t")]
)
def test_an_answer_that_is_no_object_has_no_fields(body, path):
    found = reading(body, settings={"access_token_path": path})

    assert (token_of(found), found.fields) == ("canary", {})


def test_a_form_has_fields_too():
    found = reading(b"access_token=a&scope=repo%2Cuser&x=1", content_type="application/x-www-form-urlencoded")

    assert (found.fields, found.scope) == ({"scope": "repo,user", "x": "1"}, "repo,user")


@pytest.mark.case("T-404")
@pytest.mark.parametrize(
    ("said", "scope"), [("read", "read"), ("", ""), (None, None), (5, None), (["read"], None), ("a\nb", None)]
)
def test_the_scope_that_was_granted_is_told(said, scope):
    assert reading({"access_token": "a", "scope": said}).scope == scope
    assert reading({"access_token": "a"}).scope is None


@pytest.mark.case("T-91")
def test_the_clock_of_the_server_is_told_by_tokens_and_failures():
    assert reading({"access_token": "a"}, date=DATE).server_time == 1_800_000_000.0
    assert reading({"error": "invalid_grant"}, 400, date=DATE).server_time == 1_800_000_000.0
    assert reading({"access_token": "a"}, date="banana").server_time is None


@pytest.mark.case("T-403")
def test_a_token_that_looks_like_a_signed_one_is_not_looked_into():
    expired = "eyJhbGciOiJub25lIn0.eyJleHAiOjF9."

    found = reading({"access_token": expired, "expires_in": 60})

    assert (token_of(found), found.lifetime) == (expired, 60)


@pytest.mark.case("T-407")
@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (400, {"error": "use_dpop_nonce"}, {}),
        (401, {"error": "invalid_dpop_proof"}, {}),
        (401, b"", {"www_authenticate": 'DPoP error="use_dpop_nonce"'}),
        (400, b"<html>", {"dpop_nonce": "n"}),
    ],
)
def test_a_server_that_wants_proof_of_possession_is_told_apart(status, body, headers):
    found = reading(body, status, **headers)

    assert (found.code, found.remedy) == ("dpop_unsupported", Remedy.OPERATOR)


@pytest.mark.case("T-407")
def test_a_nonce_beside_a_token_or_a_known_error_changes_nothing():
    assert token_of(reading({"access_token": "a"}, dpop_nonce="n")) == "a"
    assert reading({"error": "invalid_client"}, 401, dpop_nonce="n").code == "invalid_client"
