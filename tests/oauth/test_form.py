"""Fields of the iClient form from an operator's file to the wire: the loader reads them, a keeper lives by them."""

import base64
import hashlib
import hmac
import json
from urllib.parse import parse_qsl, urlsplit

import pytest

from proxy.clock import SystemClock
from proxy.definitions.load import load
from proxy.errors import TokenUnavailable
from proxy.oauth.authorize import authorization_url
from proxy.oauth.grant import Authorization
from proxy.oauth.pkce import challenge
from proxy.secret import Secret
from tests.oauth.answers import material
from tests.support.authorization_server import AuthorizationServer, metadata, respond, say, token
from tests.support.deadline import awaiting
from tests.tokens.kept import kept, token_of

ENVIRON = {"SECRET": "s3cret & more", "JWT_SECRET": base64.b64encode(bytes(range(40))).decode(), "API_KEY": 'k"&=1'}
FORM = {"grant_type": "client_credentials", "client_id": "my-app", "client_secret": {"env": "SECRET"}}
OWN = {"settings": {"tenant": "t 1"}, "secrets": {"api_key": {"env": "API_KEY"}}}


def written(folder, server, *, connection=None, **iclient):
    """Return the connection that the loader makes of an operator's file."""
    base = server.url.removesuffix("/token")
    urls = {
        "token_url": server.url,
        "revocation_url": f"{base}/revoke",
        "valid_domains": server.authority,
        "allow_insecure": True,
    }
    ours = {key: value for key, value in (FORM | urls | iclient).items() if value is not None}
    one = {"base_url": "https://api.example.com", "prefetch": False, "iclient": ours}
    file = folder / "iclient-proxy.yaml"
    file.write_text(json.dumps({"connections": {"acme": one | (connection or {})}}))
    [loaded] = load([file], ENVIRON).definitions.connections
    return loaded


def segment(text):
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


async def test_the_three_requests_are_what_their_overrides_say(tmp_path):
    def request(what, body):
        return {"headers": {f"X-{what}": "{{{connection.settings.tenant}}}", "User-Agent": None}, "body": body}

    overrides = {
        "access_token_request": request("Access", {
            "grant_type": "session", "app": "{{{iclient.client_id}}}", "key": "{{{connection.secrets.api_key}}}",
        }),
        "refresh_token_request": request(
            "Refresh", json.dumps({"again": "{{{connection.token.refresh_token}}}", "grant_type": "more"})
        ),
        "revocation_request": request("Revoke", {"gone": "{{{connection.token.access_token}}}"}),
    }  # fmt: skip
    answer = {"data": {"session": [{"token": "first"}], "again": "r&1"}, "id": 7}
    async with AuthorizationServer() as server:
        server.script(say(200, answer), say(200, {"data": {"session": [{"token": "second"}]}}))
        server.script(respond(200, content_type=None), respond(200, content_type=None), at="/revoke")
        acme = written(
            tmp_path, server, connection=OWN, **overrides,
            access_token_path="data.session[0].token", refresh_token_path="data.again",
        )  # fmt: skip
        async with kept(acme) as keeper:
            first = await token_of(keeper)
            await keeper.renew()
            second = await token_of(keeper)
            async with awaiting("the revocation"):
                await keeper.revoke()

        granted, refreshed = server.asked_at("/token")
        assert (first, second) == ("first", "second")
        assert granted.form == {"grant_type": "session", "app": "my-app", "key": ENVIRON["API_KEY"]}
        assert refreshed.form == {"again": "r&1", "grant_type": "more"}
        revoked = server.asked_at("/revoke")
        named = [("Access", granted), ("Refresh", refreshed), *(("Revoke", each) for each in revoked)]
        assert revoked[-1].form == {"gone": "second"}
        assert len(named) == 4
        for name, asked in named:
            assert asked.values(f"X-{name}") == ["t 1"]
            assert asked.values("User-Agent") == []
            assert asked.basic == "my-app:s3cret+%26+more"
            assert asked.values("Content-Type") == ["application/x-www-form-urlencoded"]


@pytest.mark.parametrize(("scopes", "delimiter"), [(["a:r", "b:w"], ","), ("a:r, b:w", ","), ("a:r b:w", " ")])
async def test_scopes_are_joined_by_their_delimiter(tmp_path, scopes, delimiter):
    async with AuthorizationServer() as server:
        acme = written(tmp_path, server, scopes=scopes, scope_delimiter=delimiter)
        async with kept(acme) as keeper:
            await token_of(keeper)

        assert server.asked[0].form["scope"] == delimiter.join(["a:r", "b:w"])


@pytest.mark.parametrize("client_auth", ["client_secret_basic", "client_secret_post"])
async def test_client_credentials_go_into_the_header_or_into_the_body(tmp_path, client_auth):
    async with AuthorizationServer() as server:
        async with kept(written(tmp_path, server, client_auth=client_auth)) as keeper:
            await token_of(keeper)
        [asked] = server.asked

        in_body = {"client_id": "my-app", "client_secret": ENVIRON["SECRET"]}
        basic = client_auth == "client_secret_basic"
        assert asked.form == {"grant_type": "client_credentials", **({} if basic else in_body)}
        assert asked.basic == ("my-app:s3cret+%26+more" if basic else None)


@pytest.mark.parametrize(("bits", "decoded"), [(256, True), (384, False), (512, True)])
async def test_a_jwt_has_payload_header_and_signature_as_they_are_written(tmp_path, bits, decoded):
    jwt = {
        "algorithm": f"HS{bits}", "secret": {"env": "JWT_SECRET"}, "secret_base64": decoded, "key_id": "k1",
        "payload": '{"iss": "{{{iclient.client_id}}}", "sub": "{{{connection.settings.tenant}}}", "level": 3}',
        "header": {"typ": "at+jwt", "cty": "x"}, "lifetime": "2m",
    }  # fmt: skip
    body = {"grant_type": "client_credentials", "signed": "{{{iclient.jwt.token}}}"}
    async with AuthorizationServer() as server:
        acme = written(
            tmp_path, server, connection=OWN, client_secret=None, client_auth="client_secret_jwt", jwt=jwt,
            access_token_request={"body": body},
        )  # fmt: skip
        async with kept(acme) as keeper:
            await token_of(keeper)
        text, _, signature = server.asked[0].form["signed"].rpartition(".")

    header, claims = (segment(part) for part in text.split("."))
    key = bytes(range(40)) if decoded else ENVIRON["JWT_SECRET"].encode()
    expected = hmac.new(key, text.encode(), f"sha{bits}").digest()
    assert header == {"alg": f"HS{bits}", "typ": "at+jwt", "cty": "x", "kid": "k1"}
    assert (claims["iss"], claims["sub"], claims["level"]) == ("my-app", "t 1", 3)
    assert (claims["exp"] - claims["iat"], claims["aud"]) == (120, server.url)
    assert base64.urlsafe_b64encode(expected).rstrip(b"=").decode() == signature


@pytest.mark.parametrize("method", ["S256", "plain", "off"])
async def test_a_code_is_proven_by_the_method_that_is_written(tmp_path, method):
    verifier, back = "v" * 43, "http://127.0.0.1:7489/oauth/callback/acme"
    async with AuthorizationServer() as server:
        ours = {"grant_type": "authorization_code", "authorization_url": "https://login.example.com/a", "pkce": method}
        ours["valid_domains"] = [server.authority, "login.example.com"]
        acme = written(tmp_path, server, **ours)
        shown = None if method == "off" else challenge(Secret(verifier), method)
        seen = material(acme.iclient, of=acme, redirect_url=back)
        query = dict(parse_qsl(urlsplit(authorization_url(seen, state="s", challenge=shown)).query))
        code = Authorization(Secret("code-1"), None if method == "off" else Secret(verifier), back, "s")
        async with kept(acme) as keeper, awaiting("the code to be redeemed"):
            await keeper.consent.redeem(code, {})
            await token_of(keeper)
        sent = server.asked[0].form

    hashed = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    assert query.get("code_challenge_method") == (None if method == "off" else method)
    assert query.get("code_challenge") == {"S256": hashed, "plain": verifier, "off": None}[method]
    assert sent.get("code_verifier") == (None if method == "off" else verifier)
    assert (sent["code"], sent["redirect_uri"]) == ("code-1", back)


async def test_a_url_outside_of_the_valid_domains_gets_no_byte(tmp_path):
    """The form's reason for the field: nobody has the secret sent elsewhere, the server's metadata neither."""
    async with AuthorizationServer() as named, AuthorizationServer() as other:
        named.script(metadata(token_endpoint=other.url), at="/.well-known/oauth-authorization-server")
        acme = written(tmp_path, named, token_url=None, revocation_url=None, issuer=named.issuer)
        async with kept(acme) as keeper:
            with pytest.raises(TokenUnavailable):
                await token_of(keeper)

        assert named.asked
        assert other.streams == 0


async def test_lifetimes_are_read_where_and_how_they_are_written(tmp_path):
    async with AuthorizationServer() as server:
        server.default = token(expires_in=None, life={"left": 1_800_000})
        acme = written(tmp_path, server, expires_in_path="life.left", expires_in_unit="ms")
        async with kept(acme) as keeper:
            await token_of(keeper)

            assert 1700 < keeper.snapshot().expires_at - SystemClock().wall() <= 1801
