import base64
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.oauth.request import basic_credentials, own_grant, refresh
from proxy.secret import Secret
from tests.oauth.answers import connection, iclient


def fields(request):
    pairs = parse_qsl(request.body.decode("ascii"), keep_blank_values=True, strict_parsing=True)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def authorization(request):
    return [value for name, value in request.headers if name == "Authorization"]


def test_client_credentials_send_the_grant_type_and_the_secret_in_the_header_only():
    client = iclient()

    request = own_grant(connection(client), client)

    assert (request.method, request.url, request.grant) == ("POST", client.token_url, "client_credentials")
    assert fields(request) == {"grant_type": "client_credentials"}
    assert authorization(request) == ["Basic " + base64.b64encode(b"app:canary-secret").decode()]
    assert ("Accept", "application/json") in request.headers
    assert ("Accept-Encoding", "identity") in request.headers
    assert ("Content-Type", "application/x-www-form-urlencoded") in request.headers


@pytest.mark.parametrize(("delimiter", "joined"), [(" ", "read write"), (",", "read,write")])
def test_scopes_are_joined_by_the_delimiter(delimiter, joined):
    client = iclient(scope_delimiter=delimiter)

    request = own_grant(connection(client, scopes=("read", "write")), client)

    assert fields(request)["scope"] == joined


def test_the_password_grant_sends_user_and_password_of_the_connection():
    client = iclient(grant_type="password")

    request = own_grant(connection(client, username="ann", password=Secret("p&=+ ü"), scopes=("a",)), client)

    assert fields(request) == {"grant_type": "password", "username": "ann", "password": "p&=+ ü", "scope": "a"}


def test_client_secret_post_sends_both_fields_and_no_header():
    client = iclient(client_auth="client_secret_post")

    request = own_grant(connection(client), client)

    assert fields(request) == {
        "grant_type": "client_credentials",
        "client_id": "app",
        "client_secret": "canary-secret",
    }
    assert authorization(request) == []


def test_a_public_client_sends_its_id_alone():
    client = iclient(client_auth="none", client_secret=None)

    request = own_grant(connection(client), client)

    assert fields(request) == {"grant_type": "client_credentials", "client_id": "app"}
    assert authorization(request) == []


@pytest.mark.parametrize("way", ["client_secret_basic", "client_secret_post", "none"])
def test_a_refresh_sends_the_refresh_token_and_never_a_scope(way):
    client = iclient(client_auth=way)

    request = refresh(client, Secret("r/1+2"))

    sent = fields(request)
    assert request.grant == "refresh_token"
    assert (sent["grant_type"], sent["refresh_token"]) == ("refresh_token", "r/1+2")
    assert "scope" not in sent


@pytest.mark.case("T-95")
def test_id_and_secret_are_form_encoded_before_base64():
    # The characters of RFC 6749 appendix B, and a colon that would otherwise end the id.
    client = iclient(client_id=" %&+£€", client_secret=Secret("a:b/c"))

    assert base64.b64decode(basic_credentials(client).removeprefix("Basic ")) == b"+%25%26%2B%C2%A3%E2%82%AC:a%3Ab%2Fc"


@pytest.mark.case("T-95")
def test_raw_encoding_leaves_id_and_secret_as_they_are():
    client = iclient(client_id="a b", client_secret=Secret("c:%d€"), basic_encoding="raw")

    assert base64.b64decode(basic_credentials(client).removeprefix("Basic ")).decode() == "a b:c:%d€"


@given(
    st.text(min_size=1).filter(lambda text: text.isprintable()),
    st.sampled_from(["client_secret_basic", "client_secret_post"]),
)
def test_a_secret_goes_exactly_once_whatever_it_is_made_of(secret, way):
    client = iclient(client_secret=Secret(secret), client_auth=way)

    request = own_grant(connection(client), client)

    in_header = [
        value
        for header in authorization(request)
        for value in [dict(parse_qsl("s=" + base64.b64decode(header[6:]).decode().partition(":")[2]))["s"]]
    ]
    in_body = [value for name, value in fields(request).items() if name == "client_secret"]
    assert in_header + in_body == [secret]


def test_a_request_does_not_show_its_secrets():
    client = iclient(client_auth="client_secret_post")

    assert "canary" not in repr(own_grant(connection(client), client))
    assert "Basic" not in repr(own_grant(connection(iclient()), iclient()))
