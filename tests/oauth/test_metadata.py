import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.oauth.failure import Failure, Remedy
from proxy.oauth.metadata import Metadata, metadata_requests, read_metadata
from tests.oauth.answers import LIMIT, answer

ISSUER = "https://auth.example.com/tenant"
SAID = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/a",
    "token_endpoint": f"{ISSUER}/t",
    "revocation_endpoint": f"{ISSUER}/r",
    "device_authorization_endpoint": f"{ISSUER}/d",
    "authorization_response_iss_parameter_supported": True,
}


def reading(body, status=200, **headers):
    return read_metadata(answer(body, status, **headers), ISSUER, limit=LIMIT)


@pytest.mark.parametrize(
    ("issuer", "urls"),
    [
        (
            "https://a.example",
            (
                "https://a.example/.well-known/oauth-authorization-server",
                "https://a.example/.well-known/openid-configuration",
            ),
        ),
        (
            "https://a.example/",
            (
                "https://a.example/.well-known/oauth-authorization-server",
                "https://a.example/.well-known/openid-configuration",
            ),
        ),
        (
            "https://a.example:8443/one/two",
            (
                "https://a.example:8443/.well-known/oauth-authorization-server/one/two",
                "https://a.example:8443/one/two/.well-known/openid-configuration",
            ),
        ),
    ],
)
def test_metadata_are_looked_for_where_both_standards_put_them(issuer, urls):
    requests = metadata_requests(issuer)

    assert tuple(request.url for request in requests) == urls
    for request in requests:
        assert (request.method, request.body) == ("GET", b"")
        assert [name for name, _ in request.headers] == ["Accept", "Accept-Encoding", "User-Agent"]


def test_all_that_is_said_is_taken():
    assert reading(SAID) == Metadata(
        ISSUER, f"{ISSUER}/a", f"{ISSUER}/t", f"{ISSUER}/r", f"{ISSUER}/d", iss_in_response=True
    )
    assert reading({"issuer": ISSUER}) == Metadata(ISSUER)


@pytest.mark.parametrize("odd", [5, None, ["https://x.example"], {}, True])
def test_what_is_no_text_is_no_url(odd):
    assert reading({"issuer": ISSUER, "token_endpoint": odd}) == Metadata(ISSUER)


@pytest.mark.parametrize("odd", ["true", 1, None, "yes"])
def test_a_promise_is_a_boolean(odd):
    found = reading({"issuer": ISSUER, "authorization_response_iss_parameter_supported": odd})

    assert found == Metadata(ISSUER)


@pytest.mark.parametrize("issuer", [ISSUER + "/", ISSUER.upper(), ISSUER[:-1], "", None, 5, [ISSUER]])
def test_a_server_does_not_speak_for_another(issuer):
    assert reading({**SAID, "issuer": issuer}).code == "issuer_mismatch"


@pytest.mark.parametrize(
    ("status", "code", "remedy"),
    [
        (500, "metadata_unavailable", Remedy.WAIT),
        (503, "metadata_unavailable", Remedy.WAIT),
        (429, "metadata_unavailable", Remedy.WAIT),
        (404, "metadata_not_found", Remedy.OPERATOR),
        (302, "metadata_not_found", Remedy.OPERATOR),
        (401, "metadata_not_found", Remedy.OPERATOR),
    ],
)
def test_waiting_helps_only_where_the_server_has_trouble(status, code, remedy):
    found = reading(SAID, status)

    assert (found.code, found.remedy, found.status) == (code, remedy, status)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"issuer":', b'{"issuer":"a","issuer":"b"}', b"\xff"])
def test_what_is_no_document_is_not_read(body):
    assert reading(body).code == "metadata_malformed"


@given(st.binary(max_size=200))
def test_no_answer_makes_it_raise(body):
    assert isinstance(reading(body), Failure)
