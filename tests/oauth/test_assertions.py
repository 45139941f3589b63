import itertools

import jwt as pyjwt
import pytest

from proxy.definitions.models import Jwt, SecretFile
from proxy.definitions.templates.placeholders import RenderError
from proxy.definitions.templates.urls import compile_url
from proxy.oauth.metadata import Metadata
from proxy.oauth.request import own_grant, self_signed
from proxy.oauth.revoke import revocation
from proxy.secret import Secret
from tests.oauth.answers import NOW, SHARED, connection, fields, iclient, jwt, material, override

NO_CHECKS = dict.fromkeys((f"verify_{claim}" for claim in ("aud", "nbf", "exp", "iat", "sub", "iss")), False)


def claims(token):
    return pyjwt.decode(token, SHARED, algorithms=["HS256"], options=NO_CHECKS)


def asserted(*, way="client_secret_jwt", grant_type="client_credentials", field="client_assertion", **settings):
    """Return the claims of the assertion in a token request."""
    client = iclient(**{"client_auth": way, "grant_type": grant_type, "jwt": jwt(), **settings})
    return claims(fields(own_grant(material(client)))[field])


@pytest.mark.case("T-91", "T-92")
def test_a_client_assertion_is_by_and_about_the_client_for_the_url_it_is_posted_to():
    assert asserted() == {
        "iss": "app",
        "sub": "app",
        "aud": "https://auth.example.com/token",
        "iat": int(NOW),
        "exp": int(NOW) + 300,
        "jti": "01" * 16,
    }


@pytest.mark.case("T-92")
@pytest.mark.parametrize(
    ("settings", "audience"),
    [
        ({"issuer": "https://auth.example.com/"}, "https://auth.example.com/"),
        ({"jwt": jwt({"aud": "https://login.example.com"})}, "https://login.example.com"),
        ({"issuer": "https://auth.example.com", "jwt": jwt({"aud": "written"})}, "written"),
        ({"token_url": compile_url("https://auth.example.com/t?tenant=1")}, "https://auth.example.com/t?tenant=1"),
        (
            {"access_token_request": override(url="https://auth.example.com/{{{connection.name}}}")},
            "https://auth.example.com/crm",
        ),
    ],
)
def test_the_audience_is_the_written_one_else_the_issuer_else_the_url(settings, audience):
    assert asserted(**settings)["aud"] == audience


@pytest.mark.case("T-92")
def test_the_audience_of_a_revocation_is_the_url_of_the_revocation():
    client = iclient(
        client_auth="client_secret_jwt", jwt=jwt(), revocation_url=compile_url("https://auth.example.com/revoke")
    )

    request = revocation(material(client), Secret("t"), "access_token")

    assert claims(fields(request)["client_assertion"])["aud"] == "https://auth.example.com/revoke"


@pytest.mark.case("T-92")
def test_the_audience_of_an_endpoint_in_the_metadata_is_that_endpoint():
    client = iclient(client_auth="client_secret_jwt", jwt=jwt(), token_url=None)
    known = Metadata("https://auth.example.com", token_endpoint="https://auth.example.com/found")

    request = own_grant(material(client, metadata=known))

    assert claims(fields(request)["client_assertion"])["aud"] == "https://auth.example.com/found"


@pytest.mark.case("T-93")
def test_every_request_has_an_assertion_of_its_own_even_within_one_moment():
    counter = itertools.count()
    client = iclient(client_auth="client_secret_jwt", jwt=jwt())
    made = material(client, entropy=lambda size: next(counter).to_bytes(size, "big"))

    seen = {claims(fields(own_grant(made))["client_assertion"])["jti"] for _ in range(500)}

    assert len(seen) == 500


@pytest.mark.case("T-93")
def test_a_request_that_names_the_assertion_twice_holds_one():
    request = own_grant(
        material(
            iclient(
                client_auth="none",
                jwt=jwt(),
                access_token_request=override(body={"a": "{{{iclient.jwt.token}}}", "b": "{{{iclient.jwt.token}}}"}),
            )
        )
    )

    assert len(set(fields(request).values())) == 1


def test_an_assertion_is_not_signed_where_nothing_names_it():
    def entropy(size):
        raise AssertionError("nobody asked for an assertion")

    assert own_grant(material(iclient(jwt=jwt()), entropy=entropy)).body == b"grant_type=client_credentials"


@pytest.mark.parametrize(
    "written",
    [
        {"body": {"client_assertion": "{{{iclient.jwt.token}}}"}},
        {"body": {"assertion": "{{{iclient.jwt.token}}}"}},
    ],
)
def test_a_placed_assertion_is_by_the_client_and_for_the_url_like_the_default_one(written):
    client = iclient(client_auth="client_secret_jwt", jwt=jwt(), access_token_request=override(**written))

    [token] = [value for value in fields(own_grant(material(client))).values() if value.startswith("eyJ")]

    found = claims(token)
    assert (found["iss"], found["sub"], found["aud"]) == ("app", "app", "https://auth.example.com/token")


def test_an_assertion_inside_a_url_is_for_the_token_url():
    client = iclient(
        client_auth="client_secret_jwt",
        jwt=jwt(),
        access_token_request=override(method="GET", url="https://auth.example.com/t?a={{{iclient.jwt.token}}}"),
    )

    url = own_grant(material(client)).url

    token = url.partition("a=")[2].partition("&")[0]
    assert claims(token)["aud"] == "https://auth.example.com/token"


def test_the_payload_is_rendered_for_the_connection():
    payload = {
        "sub": "{{{connection.username}}}",
        "iss": "{{{iclient.client_id}}}",
        "x": {"y": ["{{{connection.name}}}"]},
    }
    client = iclient(client_auth="none", grant_type="jwt_bearer", jwt=jwt(payload, {"x": "{{{connection.name}}}"}))

    token = fields(own_grant(material(client, of=connection(client, username="ann"))))["assertion"]

    assert {name: claims(token)[name] for name in payload} == {"sub": "ann", "iss": "app", "x": {"y": ["crm"]}}
    assert pyjwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT", "x": "crm"}


@pytest.mark.case("T-94")
def test_times_that_a_template_gives_are_numbers():
    payload = {
        "iat": '{{{timestamp "X"}}}',
        "nbf": '{{{timestamp "X"}}}',
        "exp": '{{{timestamp "X"}}}',
        "at": '{{{timestamp "X"}}}',
    }

    found = asserted(jwt=jwt(payload))

    assert {name: found[name] for name in payload} == {
        "iat": int(NOW), "nbf": int(NOW), "exp": int(NOW), "at": str(int(NOW)),
    }  # fmt: skip


@pytest.mark.parametrize("body", [None, {"grant_type": "g", "assertion": "{{{iclient.jwt.token}}}"}])
def test_jwt_bearer_authenticates_the_client_beside_its_assertion(body):
    client = iclient(
        grant_type="jwt_bearer",
        client_auth="client_secret_jwt",
        jwt=jwt({"sub": "user"}),
        access_token_request=override(body=body),
    )

    sent = fields(own_grant(material(client)))

    assert sent["assertion"].startswith("eyJ")
    assert sent["client_assertion"].startswith("eyJ")
    assert "iss" not in claims(sent["assertion"])
    assert claims(sent["client_assertion"])["iss"] == "app"


@pytest.mark.parametrize("written", ["literal", "file"])
def test_a_ready_made_assertion_is_sent_as_it_is_now(written, tmp_path):
    file = SecretFile(path=tmp_path / "token")
    token = Secret("ready.made.one") if written == "literal" else file
    client = iclient(client_auth="private_key_jwt", jwt=Jwt(token=token))

    request = own_grant(material(client, rotated={file: Secret("ready.made.one")}))

    assert fields(request)["client_assertion"] == "ready.made.one"


def test_a_self_signed_token_lives_as_long_as_it_says():
    client = iclient(
        grant_type="self_signed_jwt", client_auth="none", token_url=None, jwt=jwt({"sub": "me"}, lifetime=60.0)
    )

    issued = self_signed(material(client))

    found = claims(issued.access_token.reveal())
    assert (issued.lifetime, found["exp"] - found["iat"], found["sub"]) == (60.0, 60, "me")
    assert "aud" not in found
    assert (issued.refresh_token, issued.anomalies) == (None, ())


@pytest.mark.parametrize("ttl", [None, 120.0])
def test_how_long_a_ready_made_token_lives_only_the_operator_knows(ttl):
    client = iclient(
        grant_type="self_signed_jwt", client_auth="none", jwt=Jwt(token=Secret("abc")), default_token_ttl=ttl
    )

    issued = self_signed(material(client))

    assert (issued.access_token, issued.lifetime) == (Secret("abc"), ttl)


@pytest.mark.parametrize("content", ["", "a\r\nX: y", "a\nb", "ü", " a", "a" * 16385])
def test_a_file_that_holds_no_token_never_becomes_a_header(content, tmp_path):
    file = SecretFile(path=tmp_path / "token")
    client = iclient(grant_type="self_signed_jwt", client_auth="none", jwt=Jwt(token=file))

    with pytest.raises(RenderError) as raised:
        self_signed(material(client, rotated={file: Secret(content)}))

    assert raised.value.code == "token_malformed"
