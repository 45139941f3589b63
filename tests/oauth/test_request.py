"""The default requests, byte by byte: every grant with every client authentication."""

import base64
import re
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.definitions.models import SecretFile, TokenExchange
from proxy.definitions.templates.placeholders import RenderError, literal
from proxy.definitions.templates.urls import compile_url
from proxy.oauth.device import device_authorization, device_token
from proxy.oauth.grant import Authorization, Grant
from proxy.oauth.metadata import Metadata
from proxy.oauth.request import own_grant, refresh
from proxy.oauth.revoke import revocation
from proxy.secret import Secret
from tests.oauth.answers import connection, fields, header, iclient, jwt, material

BASIC = "Basic " + base64.b64encode(b"app:canary-secret").decode()
ASSERTED = (
    "client_id=app&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"
    "&client_assertion=JWT"
)
AUTHENTICATIONS = {
    "client_secret_basic": (BASIC, ""),
    "client_secret_post": (None, "client_id=app&client_secret=canary-secret"),
    "client_secret_jwt": (None, ASSERTED),
    "private_key_jwt": (None, ASSERTED),
    "tls_client_auth": (None, "client_id=app"),
    "none": (None, "client_id=app"),
}
AUTHORIZATION = Authorization(Secret("c/1"), Secret("v-1"), "http://127.0.0.1:7489/oauth/callback/acme", "s")
EXCHANGE = TokenExchange(
    subject_token=Secret("sub&ject"),
    actor_token=Secret("actor"),
    actor_token_type="urn:ietf:params:oauth:token-type:jwt",
    requested_token_type="urn:ietf:params:oauth:token-type:access_token",
    audience=("a", "b"),
    resource=("https://api.example.com/",),
)
REQUESTS = {
    "client_credentials": (own_grant, "grant_type=client_credentials&scope=read+write"),
    "password": (own_grant, "grant_type=password&username=ann&password=p%26%3D%2B+%C3%BC&scope=read+write"),
    "authorization_code": (
        own_grant,
        (
            "grant_type=authorization_code&code=c%2F1"
            "&redirect_uri=http%3A%2F%2F127.0.0.1%3A7489%2Foauth%2Fcallback%2Facme&code_verifier=v-1"
        ),
    ),
    "jwt_bearer": (
        own_grant,
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=JWT&scope=read+write",
    ),
    "token_exchange": (
        own_grant,
        (
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token=sub%26ject"
            "&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token"
            "&actor_token=actor&actor_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt"
            "&requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token"
            "&audience=a&audience=b&resource=https%3A%2F%2Fapi.example.com%2F&scope=read+write"
        ),
    ),
    "refresh_token": (refresh, "grant_type=refresh_token&refresh_token=r%2F1%2B2"),
    "device_code": (
        lambda made: device_token(made, Secret("d 1")),
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&device_code=d+1",
    ),
}


def prepared(client, **settings):
    of = connection(client, scopes=("read", "write"), username="ann", password=Secret("p&=+ ü"))
    grant = Grant(refresh_token=Secret("r/1+2"))
    return material(client, of=of, grant=grant, authorization=AUTHORIZATION, **settings)


def without_assertions(body):
    """Return a body with every signed assertion put as JWT."""
    return re.sub(r"eyJ[\w-]+\.[\w-]+\.[\w-]+", "JWT", body.decode("ascii"))


@pytest.mark.parametrize("way", AUTHENTICATIONS)
@pytest.mark.parametrize("grant_type", REQUESTS)
def test_each_grant_sends_its_fields_and_one_authentication_of_the_client(grant_type, way):
    build, default = REQUESTS[grant_type]
    authorization, added = AUTHENTICATIONS[way]
    client = iclient(grant_type=grant_type, client_auth=way, jwt=jwt(), token_exchange=EXCHANGE)

    request = build(prepared(client))

    assert without_assertions(request.body) == "&".join(filter(None, [default, added]))
    assert (request.method, request.url) == ("POST", "https://auth.example.com/token")
    assert request.grant == grant_type
    assert request.headers == (
        ("Accept", "application/json"),
        ("Accept-Encoding", "identity"),
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("User-Agent", "iclient-proxy"),
        *([("Authorization", authorization)] if authorization else []),
    )


@pytest.mark.parametrize("way", AUTHENTICATIONS)
def test_a_device_authorization_and_a_revocation_authenticate_the_client_alike(way):
    authorization, added = AUTHENTICATIONS[way]
    client = iclient(
        grant_type="device_code",
        client_auth=way,
        jwt=jwt(),
        device_authorization_url=compile_url("https://auth.example.com/device"),
        revocation_url=compile_url("https://auth.example.com/revoke"),
    )

    asking = device_authorization(prepared(client))
    revoking = revocation(prepared(client), Secret("t&1"), "refresh_token")

    assert without_assertions(asking.body) == "&".join(filter(None, ["scope=read+write", added]))
    assert without_assertions(revoking.body) == "&".join(
        filter(None, ["token=t%261&token_type_hint=refresh_token", added])
    )
    assert (asking.url, revoking.url) == ("https://auth.example.com/device", "https://auth.example.com/revoke")
    assert header(asking, "authorization") == header(revoking, "authorization") == ([BASIC] if authorization else [])


def test_a_code_without_pkce_goes_without_a_verifier():
    client = iclient(grant_type="authorization_code")
    code = Authorization(Secret("c"), None, "https://x.example/cb", "s")

    request = own_grant(material(client, authorization=code))

    assert request.body == b"grant_type=authorization_code&code=c&redirect_uri=https%3A%2F%2Fx.example%2Fcb"


@pytest.mark.parametrize(("delimiter", "joined"), [(" ", "read write"), (",", "read,write")])
def test_scopes_are_joined_by_the_delimiter(delimiter, joined):
    client = iclient(scope_delimiter=delimiter)

    assert fields(own_grant(prepared(client)))["scope"] == joined


def test_no_scopes_no_field():
    assert own_grant(material(iclient())).body == b"grant_type=client_credentials"


def test_an_exchanged_token_is_the_one_that_its_file_holds_now(tmp_path):
    file = SecretFile(path=tmp_path / "token")
    client = iclient(grant_type="token_exchange", token_exchange=TokenExchange(subject_token=file))

    request = own_grant(material(client, rotated={file: Secret("of today")}))

    assert fields(request)["subject_token"] == "of today"


def test_a_token_url_that_is_not_written_is_the_one_of_the_metadata():
    client = iclient(token_url=None, issuer="https://auth.example.com")
    known = Metadata("https://auth.example.com", token_endpoint="https://auth.example.com/found")

    assert own_grant(material(client, metadata=known)).url == "https://auth.example.com/found"
    with pytest.raises(RenderError) as raised:
        own_grant(material(client, metadata=Metadata("https://auth.example.com")))
    assert raised.value.code == "placeholder_unresolved"


@pytest.mark.case("T-95")
@pytest.mark.parametrize(
    ("encoding", "client_id", "secret", "pair"),
    [
        # The characters of RFC 6749 appendix B, and a colon that would otherwise end the id.
        ("form", " %&+£€", "a:b/c", "+%25%26%2B%C2%A3%E2%82%AC:a%3Ab%2Fc"),
        ("raw", "a b", "c:%d€", "a b:c:%d€"),
    ],
)
def test_id_and_secret_are_form_encoded_before_base64_unless_raw(encoding, client_id, secret, pair):
    client = iclient(client_id=literal(client_id), client_secret=Secret(secret), basic_encoding=encoding)

    request = own_grant(material(client))

    assert header(request, "authorization") == ["Basic " + base64.b64encode(pair.encode()).decode()]
    assert request.body == b"grant_type=client_credentials"


@pytest.mark.case("T-95")
@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    st.sampled_from(["client_secret_basic", "client_secret_post"]),
)
def test_a_secret_goes_exactly_once_whatever_it_is_made_of(secret, way):
    client = iclient(client_secret=Secret(secret), client_auth=way)

    request = own_grant(material(client))

    if way == "client_secret_basic":
        [value] = header(request, "authorization")
        assert base64.b64decode(value.removeprefix("Basic ")) == f"app:{quote_plus(secret)}".encode()
        assert request.body == b"grant_type=client_credentials"
    else:
        assert header(request, "authorization") == []
        assert fields(request) == {"grant_type": "client_credentials", "client_id": "app", "client_secret": secret}


@pytest.mark.parametrize("way", AUTHENTICATIONS)
@pytest.mark.parametrize("grant_type", REQUESTS)
def test_a_request_shows_no_secret_and_reveals_each_through_the_one_way_out(grant_type, way):
    """`explain` hands over a way out that masks."""
    client = iclient(grant_type=grant_type, client_auth=way, jwt=jwt(), token_exchange=EXCHANGE)
    build, _ = REQUESTS[grant_type]

    shown = build(prepared(client, reveal=lambda _: "masked"))

    assert repr(build(prepared(client))).count("canary") == 0
    for text in (shown.url, str(shown.headers), shown.body.decode()):
        assert not re.search(r"canary|eyJ|p%26|r%2F1|c%2F1|v-1|d\+1|sub%26|actor&|" + re.escape(BASIC), text)
