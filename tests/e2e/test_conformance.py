"""Every grant and client authentication of npm's oidc-provider, by the product's own command.

That server takes from each client only the authentication that it is registered with; nginx lets a request through only
with a token that the server calls good. So a 200 says that grant and authentication were what they should be.
"""

import json
import re
import ssl

import httpx
import pytest

from tests.e2e.peers import SECONDS, Proxy, curl
from tests.e2e.registrations import PASSPHRASE, PRIVATE, SECRET, SHARED

pytestmark = [pytest.mark.needs("curl", "nginx", "node", "oidc-provider"), pytest.mark.timeout(120)]

ASSERTED = [f"jwt-{algorithm.lower()}" for algorithm in (*SHARED, *PRIVATE)]
MACHINES = ["secret-basic", "secret-post", *ASSERTED, "tls-ca", "tls-own"]
# They name the token URL; the others find it, and all the rest, by `issuer`.
BY_URL = {"secret-basic", "jwt-hs256", "jwt-es256", "jwt-eddsa", "tls-ca", "tls-wrong", "code-secret", "device-public"}
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"


@pytest.fixture(scope="module")
def brought(authorization_server, authority):
    """A refresh token that an operator has from elsewhere."""
    reply = curl(
        f"{authorization_server.issuer}/token", "--cacert", authority.ca, "--data", "grant_type=password",
        "--data-urlencode", "username=alice", "--data-urlencode", "password=wonder & land = 1",
        *authorization_server.credentials("brought", SECRET),
    )  # fmt: skip
    return reply.json()["refresh_token"]


@pytest.fixture(scope="module")
def proxy(clients, nginx, authorization_server, brought):
    issuer = authorization_server.issuer
    urls = {
        "token_url": f"{issuer}/token",
        "authorization_url": f"{issuer}/auth",
        "device_authorization_url": f"{issuer}/device/auth",
        "revocation_url": f"{issuer}/token/revocation",
    }
    used = {"authorization_code": {"authorization_url"}, "device_code": {"device_authorization_url"}}
    for name, iclient in clients.iclients.items():
        if name in BY_URL:
            needed = {"token_url", "revocation_url", *used.get(iclient["grant_type"], ())}
            iclient |= {key: url for key, url in urls.items() if key in needed}
        else:
            iclient["issuer"] = issuer
    definitions = {
        "listeners": {"reverse": {"bind": "127.0.0.1:0"}, "admin": {"bind": "127.0.0.1:0"}},
        "shutdown": {"drain_delay": "10ms", "grace": "5s"},
        "defaults": {"connection": {"base_url": nginx.url, "tls": {"ca": "ca.pem"}, "prefetch": False}},
        "iclients": clients.iclients,
        "connections": {
            name: {"iclient": name} | ({"refresh_token": {"env": "CONFORMANCE_GRANT"}} if name == "brought" else {})
            for name in clients.iclients
        },
    }
    environment = {
        "CONFORMANCE_SECRET": SECRET, "CONFORMANCE_PASSPHRASE": PASSPHRASE, "CONFORMANCE_GRANT": brought,
    }  # fmt: skip
    product = Proxy(clients.folder, json.dumps(definitions), environment)
    try:
        yield product
    finally:
        status = product.stop()
    assert status == 0, product.output
    assert [name for name, secret in environment.items() if secret in product.output] == []
    assert "Traceback" not in product.output


@pytest.fixture
def browser(authority):
    """What a human browses with; it follows redirects and keeps cookies."""
    with httpx.Client(
        verify=ssl.create_default_context(cafile=authority.ca), follow_redirects=True, timeout=SECONDS, trust_env=False
    ) as client:
        yield client


def asked(proxy, name):
    """Ask the upstream through the proxy; return the reply and the token that reached the upstream."""
    reply = curl(f"{proxy.url}/{name}/v1/conformance")
    if reply.status != 200:
        return reply, None
    headers = reply.json()["headers"]
    [credential] = [
        value for key, value in zip(headers[::2], headers[1::2], strict=True) if key.lower() == "authorization"
    ]
    return reply, credential.removeprefix("Bearer ")


def admin(proxy, *words):
    """POST to the admin API."""
    return curl(f"{proxy.admin}/api/connections/{'/'.join(words)}", "-X", "POST")


def entered(browser, url):
    """Open the page of a device flow and press what it offers, until it offers nothing more."""
    page = browser.get(url)
    while (form := re.search(r'<form[^>]* action="([^"]+)"', page.text)) is not None:
        fields = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page.text))
        page = browser.post(form[1], data=fields)
    return page


# --------------------------------------------------------------------------------------- how a client says who it is


@pytest.mark.parametrize("name", MACHINES)
def test_a_client_authenticates_as_it_is_registered(proxy, authorization_server, name):
    reply, _ = asked(proxy, name)

    assert reply.status == 200
    assert authorization_server.counts()["issued"][f"{name} client_credentials"] == 1
    assert f"{name} client_credentials" not in authorization_server.counts()["refused"]


@pytest.mark.case("T-93")
@pytest.mark.parametrize("name", ["jwt-hs384", "jwt-rs256", "jwt-eddsa"])
def test_no_assertion_is_used_twice(proxy, authorization_server, name):
    """The server refuses a second use of one `jti`."""
    asked(proxy, name)
    before = authorization_server.counts()["issued"][f"{name} client_credentials"]

    assert [admin(proxy, name, "renew").status for _ in range(3)] == [200] * 3
    assert authorization_server.counts()["issued"][f"{name} client_credentials"] == before + 3


def test_a_certificate_of_another_client_brings_no_token(proxy):
    reply, _ = asked(proxy, "tls-wrong")

    assert (reply.status, reply.json()["code"]) == (503, "client_rejected")


@pytest.mark.parametrize("name", ["secret-basic", "secret-post", "jwt-hs512", "jwt-ps384", "jwt-es256", "tls-ca"])
def test_what_is_revoked_is_worthless_and_the_next_request_gets_another(proxy, authorization_server, name):
    _, token = asked(proxy, name)
    assert authorization_server.knows(token)

    revoked = admin(proxy, name, "revoke")

    assert revoked.status == 200
    assert not authorization_server.knows(token)
    reply, another = asked(proxy, name)
    assert reply.status == 200
    assert another != token


# ---------------------------------------------------------------------------------------------------------- the grants


def test_a_refresh_token_from_elsewhere_is_used_and_followed_where_it_rotates(proxy, authorization_server):
    first, token = asked(proxy, "brought")
    authorization_server.forget(token)
    second, _ = asked(proxy, "brought")

    assert (first.status, second.status) == (200, 200)
    assert authorization_server.counts()["issued"]["brought refresh_token"] == 2


@pytest.mark.parametrize(
    ("name", "method"), [("code-secret", "S256"), ("code-public", "S256"), ("code-without-pkce", "-")]
)
def test_a_human_authorizes_once_and_the_grant_is_refreshed_and_revoked(
    proxy, authorization_server, browser, name, method
):
    refused, _ = asked(proxy, name)
    assert (refused.status, refused.json()["code"]) == (503, "authorization_required")

    asks_first = browser.get(f"{proxy.admin}/oauth/start/{name}")  # since it does not say which page sent it here
    [link] = re.findall(rf'href="({name}\?go=[^"]+)"', asks_first.text)
    page = browser.get(asks_first.url.join(link))
    assert (page.status_code, str(page.url)) == (200, f"{proxy.admin}/oauth/done/{name}")
    reply, token = asked(proxy, name)
    authorization_server.forget(token)
    refreshed, another = asked(proxy, name)
    counts = authorization_server.counts()
    revoked = admin(proxy, name, "revoke")

    assert (reply.status, refreshed.status, revoked.status) == (200, 200, 200)
    assert counts["challenges"][f"{name} {method}"] == 1
    assert counts["issued"][f"{name} authorization_code"] == 1
    assert counts["issued"][f"{name} refresh_token"] == 1
    assert not authorization_server.knows(another)
    assert authorization_server.counts()["revoked"][name] >= 1
    assert asked(proxy, name)[0].json()["code"] == "authorization_required"


@pytest.mark.parametrize("name", ["device-public", "device-secret"])
def test_a_code_is_entered_on_another_device(proxy, authorization_server, browser, name):
    started = admin(proxy, name, "device").json()
    page = entered(browser, started["verification_uri_complete"])
    assert "Sign-in Success" in page.text

    reply, token = asked(proxy, name)
    authorization_server.forget(token)
    refreshed, _ = asked(proxy, name)

    issued = authorization_server.counts()["issued"]
    assert (reply.status, refreshed.status) == (200, 200)
    assert (issued[f"{name} {DEVICE}"], issued[f"{name} refresh_token"]) == (1, 1)
