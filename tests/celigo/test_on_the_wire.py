"""What imported definitions send: the requests that integrator.io makes with the same fields."""

import base64
import hashlib
import hmac
import json
from urllib.parse import parse_qsl, urlsplit

import pytest

from proxy.definitions.settings import Limits
from proxy.oauth.authorize import authorization_url
from proxy.oauth.grant import Authorization, Grant
from proxy.oauth.material import Material
from proxy.oauth.request import own_grant, refresh
from proxy.oauth.revoke import revocation
from proxy.outbound.resolve import Resolver
from proxy.outbound.token_endpoint import TokenEndpoint
from proxy.secret import Secret
from tests.celigo.exports import ENVIRON_VALUE, MASK, connection, iclient, loaded
from tests.support.authorization_server import AuthorizationServer

REDIRECT = "http://127.0.0.1:7489/oauth/callback/acme"
BASIC = f"app:{ENVIRON_VALUE}"
CODE = Authorization(Secret("the-code"), Secret("the-verifier"), REDIRECT, "the-state")
TOKEN = "{{{connection.http.auth.token.token}}}"
USER = "{{{connection.http.unencrypted.[User Name]}}}"
PIN = "{{{connection.http.encrypted.pin}}}"
IDS = {"client_id": "{{{clientId}}}", "client_secret": "{{{clientSecret}}}"}
HELD = Grant(Secret("refresh-1"), Secret("access-1"))


def material(connection, **settings):
    entropy = iter(range(1, 99))
    return Material(
        connection,
        connection.iclient,
        now=1_800_000_000.0,
        entropy=lambda size: next(entropy).to_bytes(size, "big"),
        redirect_url=REDIRECT,
        **settings,
    )


class Played:
    """The one connection of an import, and the token endpoint that its requests are sent to."""

    def __init__(self, definitions, server):
        [self.connection] = definitions.connections
        self.server = server
        self.endpoint = TokenEndpoint(self.connection.iclient, Limits(), Resolver())

    async def sends(self, make, **settings):
        """Send what `make` makes of the definitions and return it as the server saw it."""
        await self.endpoint.send(make(material(self.connection, **settings)))
        return self.server.asked[-1]

    async def asks(self):
        code = CODE if self.connection.iclient.grant_type == "authorization_code" else None
        return await self.sends(own_grant, authorization=code)

    async def refreshes(self):
        return await self.sends(refresh, grant=HELD)

    async def revokes(self):
        return await self.sends(lambda known: revocation(known, Secret("access-1"), "access_token"), grant=HELD)


@pytest.fixture
async def server():
    async with AuthorizationServer() as running:
        yield running


@pytest.fixture
def play(server, tmp_path):
    def played(*resources, secrets=None):
        definitions, _ = loaded(tmp_path, *resources, secrets=secrets, server=server)
        return Played(definitions, server)

    return played


async def test_client_credentials_in_the_header(play):
    asked = await play(iclient({}), connection()).asks()

    assert (asked.method, asked.path, asked.basic) == ("POST", "/token", BASIC)
    assert asked.form == {"grant_type": "client_credentials"}
    assert asked.values("content-type") == ["application/x-www-form-urlencoded"]


async def test_client_credentials_in_the_body_without_the_scope(play):
    written = iclient({"clientCredentialsLocation": "body", "scope": ["read", "write"]})
    asked = await play(written, connection()).asks()

    assert asked.basic is None
    assert asked.form == {"grant_type": "client_credentials", "client_id": "app", "client_secret": ENVIRON_VALUE}


async def test_a_body_that_names_the_scope_and_its_delimiter(play):
    body = (
        "grant_type=client_credentials&client_id={{{iClient.oauth2.clientId}}}"
        "&client_secret={{{clientSecret}}}&scope={{{join scopeDelimiter scope}}}"
    )
    written = iclient({
        "clientCredentialsLocation": "body", "scope": ["a", "b"], "scopeDelimiter": ",",
        "token": {"uri": "https://auth.example.com/token", "body": body},
    })  # fmt: skip
    asked = await play(written, connection()).asks()

    assert asked.form["scope"] == "a,b"
    assert asked.form.keys() == {"grant_type", "client_id", "client_secret", "scope"}


async def test_an_authorization_code_with_pkce_its_refresh_and_its_revocation(play):
    written = iclient({
        "grantType": "authorizecode", "pkceCodeChallengeMethod": "s256", "clientCredentialsLocation": "body",
        "scope": ["crm"], "redirectUri": "https://api.integrator.io/connection/oauth2callback",
        "auth": {
            "uri": "https://auth.example.com/authorize?response_type=code&prompt=login",
            "queryParameters": {"tenant": "t1"},
        },
        "revoke": {"uri": "https://auth.example.com/revoke", "body": {"token": TOKEN}},
    })  # fmt: skip
    played = play(written, connection())
    url = urlsplit(authorization_url(material(played.connection), state="s", challenge="c"))

    query = parse_qsl(url.query)
    assert len(dict(query)) == len(query)
    assert {"prompt": "login", "tenant": "t1", "scope": "crm", "response_type": "code"}.items() <= dict(query).items()
    assert dict(query)["code_challenge_method"] == "S256"
    secret = {"client_id": "app", "client_secret": ENVIRON_VALUE}
    assert (await played.asks()).form == {
        "grant_type": "authorization_code", "code": "the-code", "code_verifier": "the-verifier",
        "redirect_uri": REDIRECT, **secret,
    }  # fmt: skip
    assert (await played.refreshes()).form == {
        "grant_type": "refresh_token", "refresh_token": "refresh-1", **secret,
    }  # fmt: skip
    revoked = await played.revokes()
    assert (revoked.path, revoked.form) == ("/revoke", {"token": "access-1"})


async def test_a_refresh_with_a_url_a_method_and_headers_of_its_own(play):
    written = iclient({
        "grantType": "authorizecode",
        "auth": {"uri": "https://auth.example.com/authorize"},
        "refresh": {
            "uri": "https://auth.example.com/renew", "method": "GET",
            "headers": "X-Auth: AnaplanAuthToken {{{connection.http.auth.token.token}}}\nContent-Type: x",
            "body": {"refresh_token": "{{{connection.http.auth.token.refreshToken}}}"},
        },
    })  # fmt: skip
    asked = await play(written, connection()).refreshes()

    assert (asked.method, asked.path, asked.basic) == ("GET", "/renew", BASIC)
    assert asked.target.endswith("?refresh_token=refresh-1")
    assert asked.values("x-auth") == ["AnaplanAuthToken access-1"]


async def test_a_password(play):
    written = iclient({"grantType": "password", "username": "joe", "password": MASK})
    asked = await play(written, connection()).asks()

    assert asked.form == {"grant_type": "password", "username": "joe", "password": ENVIRON_VALUE}


async def test_an_assertion_says_who_the_client_is(play):
    body = {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": "{{{iClient.jwt.token}}}",
    }
    written = iclient(
        {"clientId": None, "clientSecret": None, "token": {"uri": "https://auth.example.com/token", "body": body}},
        enableJWT=True,
        jwt={
            "signatureMethod": "hmac-sha256", "secret": MASK,
            "payload": json.dumps({
                "iss": "me", "sub": "me", "aud": "https://auth.example.com", "exp": 3600, "iat": '{{{timestamp "X"}}}',
            }),
            "headers": {"typ": "JWT", "alg": "HS256", "kid": "k1"},
        },
    )  # fmt: skip
    asked = await play(written, connection()).asks()

    assertion = asked.form.pop("client_assertion")
    assert asked.form.items() >= {k: v for k, v in body.items() if k != "client_assertion"}.items()
    header, claims, signature = assertion.split(".")
    assert read(header) == {"typ": "JWT", "alg": "HS256", "kid": "k1"}
    assert read(claims)["exp"] - read(claims)["iat"] == 3600
    expected = hmac.digest(ENVIRON_VALUE.encode(), f"{header}.{claims}".encode(), hashlib.sha256)
    assert base64.urlsafe_b64decode(signature + "==") == expected


def read(part):
    return json.loads(base64.urlsafe_b64decode(part + "=="))


async def test_an_assertion_is_the_grant(play):
    body = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": "{{{iClient.jwt.token}}}"}
    written = iclient(
        {"token": {"uri": "https://auth.example.com/token", "body": json.dumps(body)}},
        enableJWT=True,
        jwt={
            "signatureMethod": "hmac-sha512", "secret": MASK, "isSecretBase64Encoded": True,
            "payload": {"iss": "{{{iClient.oauth2.unencrypted.account}}}", "aud": "https://auth.example.com/token"},
        },
    )  # fmt: skip
    written["oauth2"]["unencrypted"] = {"account": "a1"}
    secret = base64.b64encode(b"k" * 64).decode()
    asked = await play(written, connection(), secrets={"ACME_JWT_SECRET": secret}).asks()

    assert asked.form["grant_type"] == body["grant_type"]
    assert asked.form.keys() == {"grant_type", "assertion"}
    assert read(asked.form["assertion"].split(".")[1])["iss"] == "a1"


async def test_a_login_by_json_whose_fields_come_from_the_connection(play):
    written = connection(
        {
            "type": "token",
            "token": {
                "headerName": "X-Session", "scheme": " ", "refreshMediaType": "json",
                "refreshRelativeURI": "https://auth.example.com/token", "refreshTokenPath": "session.id",
                "refreshBody": f'{{"user": "{USER}", "secret": "{PIN}"}}',
                "refreshHeaders": [{"name": "X-App", "value": USER.replace("{{{", "{{{base64Encode ")}],
            },
        },
        unencrypted={"User Name": "joe"},
        encrypted={"pin": MASK},
        _iClientId=None,
    )  # fmt: skip
    played = play(written)
    asked = await played.asks()

    assert asked.values("content-type") == ["application/json"]
    assert json.loads(asked.body) == {"user": "joe", "secret": ENVIRON_VALUE}
    assert asked.values("x-app") == [base64.b64encode(b"joe").decode()]
    client = played.connection.iclient
    assert client.access_token_path == "session.id"
    assert (played.connection.send_token_via.header.name, played.connection.send_token_via.header.scheme) == (
        "X-Session", "",
    )  # fmt: skip


async def test_a_token_request_by_get(play):
    written = iclient({
        "clientCredentialsLocation": "body",
        "token": {
            "uri": "https://auth.example.com/token", "method": "GET",
            "body": {"grant_type": "client_credentials", **IDS},
        },
    })  # fmt: skip
    asked = await play(written, connection()).asks()

    assert (asked.method, asked.body) == ("GET", b"")
    assert dict(parse_qsl(urlsplit(asked.target).query)) == {
        "grant_type": "client_credentials", "client_id": "app", "client_secret": ENVIRON_VALUE,
    }  # fmt: skip


async def test_a_connection_with_oauth_fields_of_its_own_takes_only_the_credentials_of_its_iclient(play):
    auth = {
        "type": "oauth",
        "oauth": {
            "useIClientFields": False, "grantType": "clientcredentials", "clientCredentialsLocation": "body",
            "tokenURI": "https://auth.example.com/own", "accessTokenHeaders": [{"name": "X-Own", "value": "yes"}],
        },
        "token": {"scheme": "API-Key", "headerName": "Authorization"},
    }  # fmt: skip
    played = play(iclient({"token": {"uri": "https://auth.example.com/not-this"}}), connection(auth))
    asked = await played.asks()

    assert (asked.path, asked.values("x-own")) == ("/own", ["yes"])
    assert asked.form["client_secret"] == ENVIRON_VALUE
    assert played.connection.send_token_via.header.scheme == "API-Key"
