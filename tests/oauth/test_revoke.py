import pytest

from proxy.definitions.templates.urls import compile_url
from proxy.oauth.failure import Remedy
from proxy.oauth.metadata import Metadata
from proxy.oauth.revoke import can_revoke, read_revocation
from tests.oauth.answers import LIMIT, NOW, answer, iclient, override

URL = "https://auth.example.com/revoke"


def reading(body, status, **headers):
    return read_revocation(answer(body, status, **headers), limit=LIMIT, now=NOW)


@pytest.mark.case("T-98")
@pytest.mark.parametrize(("status", "body"), [(200, b""), (200, b"<html>"), (204, b""), (200, {"error": "x"})])
def test_a_token_that_the_server_does_not_know_is_revoked_too(status, body):
    assert reading(body, status) is None


@pytest.mark.case("T-98")
def test_a_kind_of_token_that_is_not_revoked_by_itself_counts_as_done():
    assert reading({"error": "unsupported_token_type"}, 400) is None


@pytest.mark.case("T-98")
@pytest.mark.parametrize(
    ("status", "body", "code", "remedy"),
    [
        (503, b"", "token_server_error", Remedy.WAIT),
        (429, b"", "token_rate_limited", Remedy.WAIT),
        (404, b"", "token_error_other", Remedy.OPERATOR),
        (400, {"error": "invalid_client"}, "invalid_client", Remedy.OPERATOR),
        (401, b"", "invalid_client", Remedy.OPERATOR),
        (302, b"", "token_endpoint_redirect", Remedy.OPERATOR),
    ],
)
def test_asking_again_helps_where_the_server_has_trouble_only(status, body, code, remedy):
    found = reading(body, status)

    assert (found.code, found.remedy, found.status) == (code, remedy, status)


@pytest.mark.case("T-98")
def test_a_server_that_asks_for_patience_is_heard():
    assert reading(b"", 503, retry_after="7").retry_after == 7.0


@pytest.mark.parametrize(
    ("settings", "metadata", "known"),
    [
        ({}, None, False),
        ({"revocation_url": compile_url(URL)}, None, True),
        ({"revocation_request": override(url=URL)}, None, True),
        ({}, Metadata("https://auth.example.com"), False),
        ({}, Metadata("https://auth.example.com", revocation_endpoint=URL), True),
    ],
)
def test_a_token_can_be_revoked_where_somebody_says_where(settings, metadata, known):
    assert can_revoke(iclient(**settings), metadata) is known
