"""One trial for all tests of this folder: an authorization server, nginx and the proxy, in one folder of files."""

import textwrap

import pytest

from tests.e2e import registrations
from tests.e2e.peers import Authority, AuthorizationServer, Nginx, Proxy, running

# What RFC 6749 encodes before it becomes Basic, and what a form encodes.
SECRETS = {
    "BASIC_SECRET": "s3cret/with+odd&chars=%",
    "POST_SECRET": "another & one",
    "ALICE_PASSWORD": "wonder & land = 1",
}


def registration(name, secret, method, *grants):
    return {
        "client_id": name,
        "client_secret": secret,
        "grant_types": list(grants),
        "redirect_uris": [],
        "response_types": [],
        "scope": "openid offline_access orders:read",
        "token_endpoint_auth_method": method,
    }


CLIENTS = [
    registration("basic-app", SECRETS["BASIC_SECRET"], "client_secret_basic", "client_credentials"),
    registration("cold-app", SECRETS["BASIC_SECRET"], "client_secret_basic", "client_credentials"),
    registration("large-app", SECRETS["BASIC_SECRET"], "client_secret_basic", "client_credentials"),
    registration("post-app", SECRETS["POST_SECRET"], "client_secret_post", "client_credentials"),
    registration("alice-app", SECRETS["BASIC_SECRET"], "client_secret_basic", "password", "refresh_token"),
]


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("trial")


@pytest.fixture(scope="session")
def authority(folder):
    return Authority(folder)


@pytest.fixture(scope="session")
def clients(authority, tmp_path_factory):
    """Clients for every grant and every authentication, with a folder of their own for their definitions."""
    folder = tmp_path_factory.mktemp("conformance")
    (folder / "ca.pem").write_bytes(authority.ca.read_bytes())
    return registrations.made(folder, authority)


@pytest.fixture(scope="session")
def authorization_server(authority, clients):
    with running(AuthorizationServer(authority, [*CLIENTS, *clients.registered])) as server:
        yield server


@pytest.fixture(scope="session")
def nginx(folder, authority, authorization_server):
    place = folder / "nginx"
    place.mkdir()
    with running(Nginx(place, authority, authorization_server.api)) as server:
        yield server


@pytest.fixture(scope="session")
def definitions(nginx, authorization_server):
    """What an operator writes. Connections have clients of their own, so that T can be told apart."""
    token = f"token_url: {authorization_server.issuer}/token"
    return textwrap.dedent(f"""\
        listeners:
          reverse: {{bind: "127.0.0.1:0"}}
          admin: {{bind: "127.0.0.1:0"}}
        shutdown: {{drain_delay: 10ms, grace: 5s}}
        defaults:
          connection: {{base_url: "{nginx.url}", tls: {{ca: ca.pem}}}}
          iclient:
            {token}
            grant_type: client_credentials
            client_secret: {{env: BASIC_SECRET}}
            tls: {{ca: ca.pem}}
        connections:
          orders:
            required: true
            iclient: {{client_id: basic-app, scopes: [orders:read]}}
          cold:
            prefetch: false
            iclient: {{client_id: cold-app}}
          large:
            prefetch: false
            replay: {{body_limit: 64KiB}}
            iclient: {{client_id: large-app}}
          billing:
            prefetch: false
            iclient: {{client_id: post-app, client_auth: client_secret_post, client_secret: {{env: POST_SECRET}}}}
          alice:
            prefetch: false
            username: alice
            password: {{env: ALICE_PASSWORD}}
            iclient: {{client_id: alice-app, grant_type: password}}
          rejected:
            prefetch: false
            iclient: {{client_id: nobody-knows-me}}
          strange:
            prefetch: false
            tls: {{ca: other.pem}}
            iclient: {{client_id: basic-app}}
    """)


@pytest.fixture(scope="session")
def proxy(folder, authority, definitions, tmp_path_factory):
    (folder / "other.pem").write_bytes(Authority(tmp_path_factory.mktemp("other")).ca.read_bytes())
    product = Proxy(folder, definitions, SECRETS)
    try:
        yield product
    finally:
        status = product.stop()
    assert status == 0, product.output
    assert [name for name, secret in SECRETS.items() if secret in product.output] == []
    assert "Traceback" not in product.output
