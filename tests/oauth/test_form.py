"""Fields of the iClient form from an operator's file to the wire: the loader reads them, a keeper lives by them."""

import base64
import hashlib
import hmac
import json
import ssl
import subprocess
from urllib.parse import parse_qsl, urlsplit

import pytest

from proxy.clock import SystemClock
from proxy.definitions.load import load
from proxy.errors import TokenUnavailable
from proxy.oauth.authorize import authorization_url
from proxy.oauth.grant import Authorization
from proxy.oauth.pkce import challenge
from proxy.secret import Secret
from tests.conftest import program
from tests.oauth.answers import material
from tests.support.authorization_server import AuthorizationServer, metadata, respond, say, token
from tests.support.deadline import awaiting
from tests.tokens.kept import PushedClock, kept, token_of

ENVIRON = {
    "SECRET": "s3cret & more",
    "JWT_SECRET": base64.b64encode(bytes(range(40))).decode(),
    "PEPPER": "a=b",
    "API_KEY": 'k"&=1',
}
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
    one = {"base_url": "https://api.example.com", "prefetch": False, "iclient": ours} | (connection or {})
    one = {key: value for key, value in one.items() if value is not None}
    file = folder / "iclient-proxy.yaml"
    file.write_text(json.dumps({"connections": {"acme": one}}))
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
            "pepper": "{{{iclient.secrets.pepper}}}",
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
            tmp_path, server, connection=OWN, secrets={"pepper": {"env": "PEPPER"}}, **overrides,
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
        assert granted.form == {"grant_type": "session", "app": "my-app", "key": ENVIRON["API_KEY"], "pepper": "a=b"}
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


@pytest.mark.parametrize(
    ("ours", "said"),
    [
        ({"expires_in_path": "life.left", "expires_in_unit": "ms"}, {"life": {"left": 1_800_000}}),
        ({"default_token_ttl": "30m"}, {}),
    ],
    ids=["path and unit", "default"],
)
async def test_lifetimes_are_read_where_and_how_they_are_written(tmp_path, ours, said):
    server = AuthorizationServer(default=token(expires_in=None, **said))
    async with server, kept(written(tmp_path, server, **ours)) as keeper:
        await token_of(keeper)

        assert 1700 < keeper.snapshot().expires_at - SystemClock().wall() <= 1801


async def test_a_token_is_renewed_as_far_ahead_as_is_written(tmp_path):
    clock = PushedClock()
    async with AuthorizationServer(expires_in=3600) as server:
        acme = written(tmp_path, server, refresh_ahead="10m")
        async with kept(acme, clock=clock) as keeper:
            await token_of(keeper)
            clock.push(2900)  # 700 s are left
            early = (await token_of(keeper), keeper.snapshot().next_attempt_at - clock.wall())
            clock.push(200)
            late = await token_of(keeper)
            await server.was_asked(2)

    assert (early[0], late) == ("token-1", "token-1")
    assert 39 < early[1] <= 101  # up to a tenth of the lead earlier


async def test_a_provider_fills_the_request_and_what_is_written_by_hand_wins(tmp_path):
    """auth0 sends credentials in the body and asks for an audience; its URL is the one key that is written here."""
    params = {"domain": "acme.eu.auth0.com", "api_host": "api.example.com", "audience": "urn:of-the-iclient"}
    async with AuthorizationServer() as server:
        acme = written(
            tmp_path, server, provider="auth0", api="default", params=params,
            connection={"base_url": None, "params": {"audience": "urn:of-the-connection"}},
        )  # fmt: skip
        async with kept(acme) as keeper:
            await token_of(keeper)
        [asked] = server.asked

    assert (acme.base_url, asked.target, asked.basic) == ("https://api.example.com", "/token", None)
    assert asked.form == {
        "grant_type": "client_credentials", "client_id": "my-app", "client_secret": ENVIRON["SECRET"],
        "audience": "urn:of-the-connection",
    }  # fmt: skip


@pytest.fixture
def certificate(tmp_path):
    """The DER of a certificate; it lies in `cert.pem`, its key in `key.pem`."""
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=a", "-keyout", key, "-out", cert]
    subprocess.run([program("openssl"), *map(str, words)], check=True, capture_output=True)
    return ssl.PEM_cert_to_DER_cert(cert.read_text())


@pytest.mark.needs("openssl")
async def test_a_certificate_is_named_by_its_thumbprints(tmp_path, certificate):
    jwt = {"algorithm": "PS256", "private_key": {"file": "key.pem"}, "certificate": {"file": "cert.pem"}}
    async with AuthorizationServer() as server:
        async with kept(written(tmp_path, server, client_secret=None, jwt=jwt)) as keeper:
            await token_of(keeper)
        header = segment(server.asked[0].form["client_assertion"].split(".")[0])

    digests = {"x5t": hashlib.sha1(certificate).digest(), "x5t#S256": hashlib.sha256(certificate).digest()}
    named = {name: base64.urlsafe_b64encode(digest).rstrip(b"=").decode() for name, digest in digests.items()}
    assert header == {"typ": "JWT", "alg": "PS256", **named}


async def test_a_ready_made_assertion_is_sent_as_its_file_holds_it_now(tmp_path):
    file = tmp_path / "assertion"
    file.write_text("made.by.others\n")
    async with AuthorizationServer() as server:
        acme = written(
            tmp_path, server, grant_type="jwt_bearer", client_auth="none", client_secret=None,
            jwt={"token": {"file": "assertion"}},
        )  # fmt: skip
        async with kept(acme) as keeper:
            await token_of(keeper)
            file.write_text("made.once.more\n")
            await keeper.renew()

        assert [asked.form["assertion"] for asked in server.asked] == ["made.by.others", "made.once.more"]


async def test_a_self_signed_assertion_is_the_access_token_and_no_server_is_asked(tmp_path):
    jwt = {"algorithm": "HS256", "secret": {"env": "JWT_SECRET"}, "payload": {"sub": "me", "aud": "https://a.example"}}
    async with AuthorizationServer() as server:
        nothing = dict.fromkeys(("token_url", "revocation_url", "client_secret", "valid_domains", "allow_insecure"))
        acme = written(tmp_path, server, grant_type="self_signed_jwt", jwt=jwt, **nothing)
        async with kept(acme) as keeper:
            claims = segment((await token_of(keeper)).split(".")[1])

        assert (claims["sub"], claims["aud"], claims["exp"] - claims["iat"]) == ("me", "https://a.example", 300)
        assert server.streams == 0
