"""Two other clients, authlib and oauthlib, get the same input as our definitions: what each sends is compared by field.

Ours is read by the loader and goes over the wire. authlib's goes to the same server; oauthlib only makes bodies.
"""

import asyncio
import base64
import json
import secrets
from collections import Counter
from urllib.parse import parse_qsl, urlsplit

import pytest
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import ClientSecretJWT, JWTBearerGrant, PrivateKeyJWT
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from oauthlib.oauth2 import (
    BackendApplicationClient,
    DeviceClient,
    LegacyApplicationClient,
    ServiceApplicationClient,
    WebApplicationClient,
)

from proxy.clock import SystemClock
from proxy.definitions.load import load
from proxy.definitions.settings import Limits
from proxy.oauth.authorize import authorization_url
from proxy.oauth.device import device_token
from proxy.oauth.grant import Authorization, Grant
from proxy.oauth.material import Material
from proxy.oauth.pkce import challenge
from proxy.oauth.request import own_grant, refresh
from proxy.oauth.revoke import revocation
from proxy.outbound.resolve import Resolver
from proxy.outbound.token_endpoint import TokenEndpoint
from proxy.secret import Secret
from tests.support.authorization_server import AuthorizationServer

CLIENT = "my-app"
SECRET = "0123456789abcdef-0123456789abcdef-0123456789abcdef-0123456789abcd"
ODD = "p%s&w=r+d: \u00fc/?"
SCOPES = ["orders:read", "customers:read"]
SCOPE = " ".join(SCOPES)
BACK = "http://127.0.0.1:7489/oauth/callback/acme"
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS, ID = (f"urn:ietf:params:oauth:token-type:{kind}" for kind in ("access_token", "id_token"))
EXCHANGE = {
    "subject_token": ODD, "subject_token_type": ID, "actor_token": "act/or", "actor_token_type": ACCESS,
    "requested_token_type": ACCESS, "audience": "orders", "resource": "https://api.example.com/x?y=1",
}  # fmt: skip
ENVIRON = {"SECRET": SECRET, "ODD": ODD, "ACTOR": EXCHANGE["actor_token"]}
SECRET_OF = {"env": "SECRET"}


@pytest.fixture(scope="module")
def pem():
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


# What an operator writes for a grant, beside how the client says who it is; and what goes to authlib.
GRANTS = {
    "client_credentials": ({"scopes": SCOPES}, {}, {"grant_type": "client_credentials", "scope": SCOPE}),
    "password": (
        {"scopes": SCOPES},
        {"username": "ann+1@example.com", "password": {"env": "ODD"}},
        {"grant_type": "password", "username": "ann+1@example.com", "password": ODD, "scope": SCOPE},
    ),
    "authorization_code": (
        {"authorization_url": "https://login.example.com/a", "scopes": SCOPES},
        {},
        {"grant_type": "authorization_code", "code": ODD, "redirect_uri": BACK, "code_verifier": VERIFIER},
    ),
    "token_exchange": (
        {"token_exchange": EXCHANGE | {"subject_token": {"env": "ODD"}, "actor_token": {"env": "ACTOR"}}},
        {},
        {"grant_type": TOKEN_EXCHANGE, **EXCHANGE},
    ),
}  # fmt: skip
REFRESH = ({}, {"refresh_token": {"env": "ODD"}}, {"refresh_token": ODD})


def authentications(pem):
    """Return, for each way that authlib knows, what an operator writes, and what authlib is given."""
    return {
        "client_secret_basic": ({"client_secret": SECRET_OF}, SECRET),
        "client_secret_post": ({"client_secret": SECRET_OF, "client_auth": "client_secret_post"}, SECRET),
        "none": ({}, None),
        "client_secret_jwt": (
            {"client_auth": "client_secret_jwt", "jwt": {"algorithm": "HS256", "secret": SECRET_OF, "lifetime": "1h"}},
            SECRET,
        ),
        "private_key_jwt": (
            {"client_auth": "private_key_jwt", "jwt": {"algorithm": "RS256", "private_key": {"env": "PEM"},
                                                       "lifetime": "1h"}},
            pem,
        ),
    }  # fmt: skip


def written(folder, server, grant, iclient, connection, pem, **environ):
    """Return the connection that the loader makes of an operator's file."""
    token_url = "https://login.example.com/token" if server is None else server.url
    domains = {"valid_domains": ["login.example.com", *([server.authority] if server else [])]}
    domains["allow_insecure"] = server is not None
    definition = {
        "connections": {
            "acme": {
                "base_url": "https://api.example.com",
                "iclient": {"grant_type": grant, "client_id": CLIENT, "token_url": token_url, **domains, **iclient},
                **connection,
            }
        }
    }  # fmt: skip
    file = folder / "iclient-proxy.yaml"
    file.write_text(json.dumps(definition))
    [loaded] = load([file], ENVIRON | {"PEM": pem} | environ).definitions.connections
    return loaded


def material(connection, **settings):
    """Return what requests of this connection are made of, as a running proxy has it."""
    settings = {"redirect_url": BACK, **settings}
    return Material(connection, connection.iclient, SystemClock().wall(), secrets.token_bytes, **settings)


def authorized():
    return Authorization(Secret(ODD), Secret(VERIFIER), BACK, "state")


def added_by(method):
    """Return what we send beside an assertion: the client's id, which RFC 7521 §4.2 leaves open."""
    return ("client_id",) if method.endswith("_jwt") else ()


def parts(url):
    """Return where a browser is sent: origin and path, and the parameters, each of them once."""
    found = urlsplit(url)
    query = Counter(parse_qsl(found.query, strict_parsing=True))
    assert set(query.values()) == {1}
    return found.scheme, found.netloc, found.path, query


async def sent(server, connection, request):
    """Send one of our requests; return what the server saw."""
    await TokenEndpoint(connection.iclient, Limits(), Resolver()).send(request)
    return server.asked[-1]


async def authlib_sends(server, secret, method, call):
    """Have authlib send a request; return what the server saw. `call` gets its client."""
    settings = {"token_endpoint_auth_method": method, "revocation_endpoint_auth_method": method}
    with OAuth2Session(CLIENT, secret, **settings) as client:
        client.trust_env = False
        client.register_client_auth_method(ClientSecretJWT())
        client.register_client_auth_method(PrivateKeyJWT())
        await asyncio.to_thread(call, client)
    return server.asked[-1]


def essence(asked, *, added=()):
    """Return what a server decides by: method, target, media type, credential, and fields with assertions opened.

    `added` are fields that a client may leave out, and that are left out here.
    """
    [content_type] = asked.values("content-type")
    form = {name: opened(value) for name, value in asked.form.items() if name not in added}
    return asked.method, asked.target, content_type.partition(";")[0], asked.basic, form


def opened(value):
    """Return an assertion as its header and claims, times as what they have to do with each other."""
    parts = value.split(".")
    if not value.startswith("eyJ") or len(parts) != 3:
        return value
    header, claims = (json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in parts[:2])
    assert len(claims.pop("jti", "")) >= 16 or "jti" not in claims
    claims["exp"] -= claims.pop("iat")
    return {name: value for name, value in header.items() if name != "typ"}, claims


# -------------------------------------------------------------------------------------------------------------- authlib


@pytest.mark.parametrize("method", list(authentications("")))
@pytest.mark.parametrize("grant", GRANTS)
async def test_authlib_asks_for_a_token_with_the_same_fields(tmp_path, pem, grant, method):
    (iclient, connection, theirs), (ours, secret) = GRANTS[grant], authentications(pem)[method]
    async with AuthorizationServer() as server:
        acme = written(tmp_path, server, grant, iclient | ours, connection, pem)
        with_code = {"authorization": authorized()} if grant == "authorization_code" else {}
        own = await sent(server, acme, own_grant(material(acme, **with_code)))
        other = await authlib_sends(server, secret, method, lambda client: client.fetch_token(server.url, **theirs))

        added = added_by(method)
        assert essence(own, added=added) == essence(other, added=added)
        assert own.form.get("client_id", CLIENT) == CLIENT


@pytest.mark.parametrize("method", list(authentications("")))
async def test_authlib_refreshes_with_the_same_fields(tmp_path, pem, method):
    (iclient, connection, theirs), (ours, secret) = REFRESH, authentications(pem)[method]
    async with AuthorizationServer() as server:
        acme = written(tmp_path, server, "refresh_token", iclient | ours, connection, pem)
        own = await sent(server, acme, refresh(material(acme, grant=Grant(refresh_token=acme.refresh_token))))
        other = await authlib_sends(server, secret, method, lambda client: client.refresh_token(server.url, **theirs))

        added = added_by(method)
        assert essence(own, added=added) == essence(other, added=added)


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", "none"])
@pytest.mark.parametrize("hint", ["refresh_token", "access_token"])
async def test_authlib_revokes_with_the_same_fields(tmp_path, pem, method, hint):
    ours, secret = authentications(pem)[method]
    async with AuthorizationServer() as server:
        url = server.url.replace("/token", "/revoke")
        acme = written(tmp_path, server, "client_credentials", {**ours, "revocation_url": url}, {}, pem)
        own = await sent(server, acme, revocation(material(acme), Secret(ODD), hint))
        other = await authlib_sends(
            server, secret, method, lambda client: client.revoke_token(url, token=ODD, token_type_hint=hint)
        )

        assert essence(own) == essence(other)
        assert own.target == "/revoke"


@pytest.mark.filterwarnings("ignore:Please use OctKey", "ignore:Using implicit key type")  # authlib takes PEM so
async def test_authlib_sends_the_same_assertion_as_a_grant(tmp_path, pem):
    claims = {"iss": "issuer", "sub": "ann", "aud": "https://login.example.com", "scope": SCOPE}
    jwt = {"algorithm": "RS256", "private_key": {"env": "PEM"}, "payload": claims, "lifetime": "1h", "key_id": "k1"}
    async with AuthorizationServer() as server:
        acme = written(tmp_path, server, "jwt_bearer", {"jwt": jwt, "client_auth": "none"}, {}, pem)
        own = await sent(server, acme, own_grant(material(acme)))
        assertion = JWTBearerGrant.sign(
            pem, claims["iss"], claims["aud"], subject=claims["sub"], claims={"scope": SCOPE},
            header={"alg": "RS256", "kid": "k1"},
        )  # fmt: skip
        fields = {"grant_type": JWT_BEARER, "assertion": assertion}
        other = await authlib_sends(server, None, "none", lambda client: client.fetch_token(server.url, **fields))

        assert essence(own) == essence(other)
        assert opened(own.form["assertion"]) == ({"alg": "RS256", "kid": "k1"}, {**claims, "exp": 3600})


@pytest.mark.case("T-95")
@pytest.mark.parametrize(("encoding", "secret"), [("raw", "p%s&w=r+d: /?"), ("form", "plain-secret.1_2")])
async def test_authlib_makes_the_same_basic_credentials(tmp_path, pem, encoding, secret):
    """authlib encodes as RFC 7617 does; that is what RFC 6749 §2.3.1 makes where nothing has to be encoded."""
    async with AuthorizationServer() as server:
        ours = {"client_secret": {"env": "OTHER"}, "basic_encoding": encoding}
        acme = written(tmp_path, server, "client_credentials", ours, {}, pem, OTHER=secret)
        own = await sent(server, acme, own_grant(material(acme)))
        call = {"grant_type": "client_credentials"}
        other = await authlib_sends(
            server, secret, "client_secret_basic", lambda client: client.fetch_token(server.url, **call)
        )

        assert own.values("authorization") == other.values("authorization")


@pytest.mark.parametrize("scopes", [[], SCOPES])
def test_authlib_and_oauthlib_send_the_browser_to_the_same_place(tmp_path, pem, scopes):
    ours = {"authorization_url": "https://login.example.com/a?tenant=1", "scopes": scopes}
    ours |= {"authorization_params": {"prompt": "consent", "login_hint": ODD}}
    acme = written(tmp_path, None, "authorization_code", ours, {}, pem)
    own = authorization_url(material(acme), state="st/1", challenge=challenge(Secret(VERIFIER), "S256"))
    more, scope = {"prompt": "consent", "login_hint": ODD}, " ".join(scopes) or None
    with OAuth2Session(CLIENT, redirect_uri=BACK, scope=scope, code_challenge_method="S256") as client:
        authlib, _ = client.create_authorization_url(
            "https://login.example.com/a?tenant=1", state="st/1", code_verifier=VERIFIER, **more
        )
    web = WebApplicationClient(CLIENT)
    oauthlib = web.prepare_request_uri(
        "https://login.example.com/a?tenant=1", redirect_uri=BACK, scope=scope, state="st/1",
        code_challenge=web.create_code_challenge(VERIFIER, "S256"), code_challenge_method="S256", **more,
    )  # fmt: skip

    assert parts(own) == parts(authlib) == parts(oauthlib)


# ------------------------------------------------------------------------------------------------------------ oauthlib


def oauthlib_bodies(pem):
    """Return what oauthlib makes of the input of each grant; `jwt_bearer` of the claims that it can have."""
    exchange = dict(EXCHANGE)
    assertion = {"private_key": pem, "subject": "ann", "issuer": "issuer", "audience": "https://login.example.com"}
    return {
        "client_credentials": BackendApplicationClient(CLIENT, scope=SCOPE).prepare_request_body(),
        "password": LegacyApplicationClient(CLIENT, scope=SCOPE).prepare_request_body("ann+1@example.com", ODD),
        "authorization_code": WebApplicationClient(CLIENT, code=ODD).prepare_request_body(
            redirect_uri=BACK, code_verifier=VERIFIER, include_client_id=False
        ),
        "token_exchange": BackendApplicationClient(CLIENT).prepare_request_body(**exchange).replace(
            "client_credentials", TOKEN_EXCHANGE
        ),
        "jwt_bearer": ServiceApplicationClient(CLIENT).prepare_request_body(**assertion, jwt_id="x" * 32),
        "refresh_token": WebApplicationClient(CLIENT).prepare_refresh_body(refresh_token=ODD),
        "device_code": DeviceClient(CLIENT).prepare_request_body(ODD),
    }  # fmt: skip


@pytest.mark.parametrize("grant", [*GRANTS, "jwt_bearer", "refresh_token", "device_code"])
@pytest.mark.parametrize("credentials", ["header", "body"])
async def test_oauthlib_makes_a_body_of_the_same_fields(tmp_path, pem, grant, credentials):
    """It leaves authentication to its caller, but for `client_id` and `client_secret` in the body."""
    claims = {"iss": "issuer", "sub": "ann", "aud": "https://login.example.com"}
    jwt = {"algorithm": "RS256", "private_key": {"env": "PEM"}, "payload": claims, "lifetime": "1h"}
    inputs = {
        **GRANTS,
        "jwt_bearer": ({"jwt": jwt}, {}),
        "refresh_token": REFRESH,
        "device_code": ({"device_authorization_url": "https://login.example.com/d"}, {}),
    }
    iclient, connection, *_ = inputs[grant]
    in_body = {
        "client_secret": SECRET_OF,
        "client_auth": f"client_secret_{'post' if credentials == 'body' else 'basic'}",
    }
    async with AuthorizationServer() as server:
        acme = written(tmp_path, server, grant, iclient | in_body, connection, pem)
        match grant:
            case "refresh_token":
                request = refresh(material(acme, grant=Grant(refresh_token=acme.refresh_token)))
            case "device_code":
                request = device_token(material(acme), Secret(ODD))
            case "authorization_code":
                request = own_grant(material(acme, authorization=authorized()))
            case _:
                request = own_grant(material(acme))
        own = await sent(server, acme, request)
    body = parse_qsl(oauthlib_bodies(pem)[grant], strict_parsing=True)
    body += [("client_id", CLIENT), ("client_secret", SECRET)] if credentials == "body" else []

    assert {name: opened(value) for name, value in own.form.items()} == {name: opened(v) for name, v in body}
    assert len(body) == len(own.form)
    assert own.basic == (None if credentials == "body" else f"{CLIENT}:{SECRET}")


@pytest.mark.parametrize("hint", ["refresh_token", "access_token"])
async def test_oauthlib_revokes_by_a_body_of_the_same_fields(tmp_path, pem, hint):
    async with AuthorizationServer() as server:
        ours = {"client_secret": SECRET_OF, "revocation_url": server.url.replace("/token", "/revoke")}
        acme = written(tmp_path, server, "client_credentials", ours, {}, pem)
        own = await sent(server, acme, revocation(material(acme), Secret(ODD), hint))
    _, headers, body = BackendApplicationClient(CLIENT).prepare_token_revocation_request(
        "https://login.example.com/revoke", ODD, token_type_hint=hint
    )

    assert own.form == dict(parse_qsl(body, strict_parsing=True))
    assert own.values("content-type") == [headers["Content-Type"]]
