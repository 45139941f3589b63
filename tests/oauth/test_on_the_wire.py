"""Requests of one iClient over real streams to the endpoints that its authorization server names."""

from proxy.definitions.settings import Limits
from proxy.oauth.device import device_authorization, device_token, read_device
from proxy.oauth.failure import Failure
from proxy.oauth.grant import Grant
from proxy.oauth.metadata import Metadata, metadata_requests, read_metadata
from proxy.oauth.request import own_grant, refresh
from proxy.oauth.response import read
from proxy.oauth.revoke import read_revocation, revocation
from proxy.outbound.resolve import Resolver
from proxy.outbound.token_endpoint import TokenEndpoint
from tests.oauth.answers import LIMIT, NOW, iclient, jwt, material, override
from tests.support.authorization_server import AuthorizationServer, error, metadata, respond, say, token

DEVICE = {"device_code": "d/1", "user_code": "U", "verification_uri": "https://a.example/d"}
WELL_KNOWN = "/.well-known/oauth-authorization-server"


def client_of(server, **settings):
    written = {"token_url": None, "valid_domains": (server.authority,), "allow_insecure": True, "issuer": server.issuer}
    return iclient(**{**written, **settings})


def endpoint_of(client):
    return TokenEndpoint(client, Limits(), Resolver())


async def test_a_device_is_authorized_refreshed_and_revoked_where_the_metadata_say():
    async with AuthorizationServer() as server:
        server.script(
            metadata(token_endpoint="/token", device_authorization_endpoint="/device", revocation_endpoint="/revoke"),
            at="/.well-known/openid-configuration",
        )
        server.script(say(200, DEVICE), at="/device")
        server.script(error("authorization_pending"), token(refresh_token="r&1"), token())
        server.script(respond(200, content_type=None), respond(503, retry_after="7"), at="/revoke")
        client = client_of(server, grant_type="device_code", client_auth="client_secret_post")
        endpoint = endpoint_of(client)

        standard, openid = [await endpoint.send(request) for request in metadata_requests(server.issuer)]
        known = read_metadata(openid, server.issuer, limit=LIMIT)
        made = material(client, metadata=known)
        device = read_device(await endpoint.send(device_authorization(made)), limit=LIMIT, now=NOW)
        pending, granted = [
            read(await endpoint.send(device_token(made, device.device_code)), client, limit=LIMIT, now=NOW)
            for _ in range(2)
        ]
        held = material(client, metadata=known, grant=Grant(refresh_token=granted.refresh_token))
        renewed = read(await endpoint.send(refresh(held)), client, limit=LIMIT, now=NOW)
        first = await endpoint.send(revocation(held, granted.refresh_token, "refresh_token"))
        second = await endpoint.send(revocation(held, renewed.access_token, "access_token"))

        assert (standard.status, pending.code) == (404, "authorization_pending")
        assert server.asked_at("/token")[2].form["refresh_token"] == "r&1"
        assert read_revocation(first, limit=LIMIT, now=NOW) is None
        assert read_revocation(second, limit=LIMIT, now=NOW).retry_after == 7.0
        assert [asked.form["token_type_hint"] for asked in server.asked_at("/revoke")] == [
            "refresh_token", "access_token",
        ]  # fmt: skip
        for asked in server.asked:
            assert asked.method == "GET" or asked.form["client_secret"] == "canary-secret"


async def test_every_form_of_a_request_arrives_as_it_was_made():
    async with AuthorizationServer() as server:
        url = f"{server.issuer}/o?tenant=1"
        for written in (
            {"method": "GET", "url": url},
            {"method": "DELETE", "url": url},
            {"method": "PUT", "url": url, "body_format": "json", "extra": {"a": 'b"'}},
            {"url": url, "body_format": "query"},
            {"headers": {"X-Tenant": "t", "Accept": None}, "extra": {"a": "b&c"}},
        ):
            client = client_of(server, access_token_request=override(**written), client_auth="none")
            request = own_grant(material(client, metadata=read_said(server)))
            await endpoint_of(client).send(request)
            [*_, asked] = server.asked

            assert (asked.method, server.issuer + asked.target, asked.body) == (
                request.method,
                request.url,
                request.body,
            )
            assert [pair for pair in asked.headers if pair in request.headers] == list(request.headers)


async def test_a_signed_assertion_is_for_the_issuer_and_never_the_same_twice():
    async with AuthorizationServer() as server:
        client = client_of(server, client_auth="client_secret_jwt", jwt=jwt())
        numbers = iter(range(9))
        made = material(client, metadata=read_said(server), entropy=lambda size: next(numbers).to_bytes(size, "big"))

        for _ in range(2):
            await endpoint_of(client).send(own_grant(made))

        one, other = [asked.form["client_assertion"] for asked in server.asked]
        assert one != other
        assert not any(asked.values("authorization") for asked in server.asked)


async def test_a_server_at_the_address_of_another_is_not_believed():
    async with AuthorizationServer() as server:
        server.script(metadata(issuer="https://auth.example.com", token_endpoint="/token"), at=WELL_KNOWN)
        client = client_of(server)

        [request, _] = metadata_requests(server.issuer)
        found = read_metadata(await endpoint_of(client).send(request), server.issuer, limit=LIMIT)

        assert isinstance(found, Failure)
        assert found.code == "issuer_mismatch"


def read_said(server):
    """Return metadata that name the token endpoint alone."""
    return Metadata(server.issuer, token_endpoint=server.url)
