"""Definitions read again that say the same: nothing counts as changed, so tokens and grants are kept."""

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from proxy.definitions.load import load
from proxy.runtime.changes import changes

ENVIRON = {"SECRET": "canary-secret-of-32-characters-00", "SEED": "canary-seed"}
CONNECTIONS = {
    "signed": """
      grant_type: client_credentials
      client_auth: private_key_jwt
      token_url: https://auth.acme.com/token
      client_id: my-app
      jwt:
        algorithm: RS256
        private_key: {file: key.pem}
        payload: {tenant: "{{{connection.name}}}", aud: "https://auth.acme.com"}
""",
    "shared": """
      grant_type: self_signed_jwt
      jwt: {algorithm: HS256, secret: {env: SECRET}, payload: {sub: "{{{connection.settings.who}}}"}}
""",
    "rotated": """
      grant_type: jwt_bearer
      token_url: https://auth.acme.com/token
      jwt: {token: {file: assertion}}
""",
    "human": """
      grant_type: authorization_code
      authorization_url: https://auth.acme.com/authorize
      token_url: "https://{{{connection.settings.who}}}.acme.com/token"
      valid_domains: acme.com
      client_id: "{{{connection.settings.who}}}"
      client_secret: {env: SECRET}
      authorization_params: {prompt: consent, scope: null}
      access_token_request: {headers: {X-Tenant: "{{{uppercase connection.settings.who}}}"}, extra: {audience: x}}
      refresh_token_request: {body: {grant_type: refresh_token, refresh_token: "{{{connection.token.refresh_token}}}"}}
""",
}


def written(folder, **changed):
    text = "connections:\n"
    for name, iclient in CONNECTIONS.items():
        text += f"  {name}:\n    base_url: https://api.acme.com\n    settings: {{who: {changed.get(name, 'ann')}}}\n"
        text += f"    iclient:{iclient}"
    (folder / "f.yaml").write_text(text)
    return load([folder / "f.yaml"], ENVIRON).definitions


@pytest.fixture
def folder(tmp_path):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "key.pem").write_bytes(pem)
    (tmp_path / "assertion").write_text("canary-assertion")
    return tmp_path


def test_what_is_the_same_is_kept_keys_and_templates_among_it(folder):
    found = changes(written(folder), written(folder))

    assert set(found.kept) == set(CONNECTIONS)


def test_a_setting_that_a_template_names_changes_its_connection_only(folder):
    found = changes(written(folder), written(folder, human="bob"))

    assert found.changed == ("human",)
