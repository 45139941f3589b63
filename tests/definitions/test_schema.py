"""The JSON Schema for editors agrees with the loader, and its published copy with it."""

import datetime as dt
import functools
import re
from pathlib import Path
from typing import get_args

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jsonschema import Draft202012Validator

from proxy.definitions.load import load
from proxy.definitions.models import ClientAuth, Grant
from proxy.definitions.schema import schema, schema_text
from proxy.errors import DefinitionsError
from tests.definitions.written import ONE

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "config" / "examples").glob("*.yaml"))
VALIDATOR = Draft202012Validator(schema())


@functools.cache
def pair():
    """Return a certificate and its RSA key, both PEM."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "client")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + dt.timedelta(days=60))
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
    return certificate, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


class AnyVariable(dict):
    """An environment in which every variable is set: keys and certificates to a pair of them."""

    def get(self, name, default=None):
        if name.startswith("ICLIENT_PROXY_"):
            return default
        if name.endswith(("_PRIVATE_KEY", "_CERTIFICATE")):
            return pair()[name.endswith("_PRIVATE_KEY")]
        return "a value of 32 characters and more"


def valid(text):
    return VALIDATOR.is_valid(yaml.safe_load(text))


def test_the_published_schema_is_current():
    published = (ROOT / "config" / "schema" / "iclient-proxy.schema.json").read_text(encoding="utf-8")

    assert published == schema_text(), "run: iclient-proxy schema > config/schema/iclient-proxy.schema.json"


def test_the_schema_is_one():
    Draft202012Validator.check_schema(schema())

    assert schema()["additionalProperties"] is False


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_examples_load_as_they_are_and_fit_the_schema(example):
    found = load([example], AnyVariable())

    assert found.definitions.connections
    assert valid(example.read_text(encoding="utf-8"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_examples_name_their_variables_at_the_top(example):
    text = example.read_text(encoding="utf-8")
    head = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))

    unnamed = [name for name in re.findall(r"\{env: (\w+)\}", text) if not re.search(rf"\b{name}\b", head)]
    assert unnamed == []


def test_there_is_an_example_of_each_grant_and_client_authentication():
    found = [load([example], AnyVariable()).definitions.connections for example in EXAMPLES]
    iclients = [one.iclient for connections in found for one in connections if one.iclient is not None]

    assert {iclient.grant_type for iclient in iclients} == set(get_args(Grant))
    assert {iclient.client_auth for iclient in iclients} == set(get_args(ClientAuth))


@pytest.mark.parametrize(
    "text",
    [
        "unknown: 1",
        "limits: {token_wait: 30}",
        "limits: {token_wait: ten}",
        "limits: {header_fields: 0}",
        "limits: {head_size: 64KB}",
        "via: sometimes",
        "connections: {a: {base_url: https://a.com, timeouts: {conect: 3s}}}",
        "connections: {A: {base_url: https://a.com}}",
        "connections: {a: {base_url: ftp://a.com}}",
        "iclients: {a: {grant_type: client_credentialz}}",
        "iclients: {a: {grant_type: client_credentials, client_secret: {evn: A}}}",
        "iclients: {a: {grant_type: client_credentials, client_secret: {env: A, file: B}}}",
        "iclients: {a: {jwt: {algorithm: none}}}",
        "iclients: {a: {access_token_request: {method: PATCH}}}",
        "iclients: {a: {token_exchange: {audience: a}}}",
        "connections: {a: {base_url: https://a.com, ping: {status: [99]}}}",
        "listeners: {forward: {unclaimed: pass}}",
        "listeners: {reverse: {bind: 7480}}",
        "store: {kind: reddis}",
        "store: {kind: redis, url: 'redis://h', on_failure: wait}",
        "store: {kind: redis, url: 'rediss://h', tls: {verify: false}}",
    ],
)
def test_what_an_editor_marks_the_loader_refuses(text, tmp_path):
    (tmp_path / "f.yaml").write_text(text)

    assert not valid(text)
    with pytest.raises(DefinitionsError):
        load([tmp_path / "f.yaml"], AnyVariable())


@pytest.mark.parametrize(
    "text",
    [
        ONE,
        ONE + "x-note: {anything: [goes]}\n",
        "limits: {token_wait: 1h30m, cooldown: {min: 1s}, connections: auto, replay_memory: 8MiB}\n" + ONE,
        "shutdown: {grace: 0s, drain_delay: 0}\n" + ONE,
        "listeners: {reverse: [{bind: 'unix:/run/a'}, {bind: '[::1]:0'}], admin: false, forward: false}\n" + ONE,
        "listeners: {forward: {}}\n" + ONE,
        ONE + "    headers: {x-tenant: 7, X-Gone: null}\n    route: {prefix: /, host: null}\n    hosts: []\n",
        ONE + "    auth_errors: [{status: [401, '403-404']}, {status: 400, www_authenticate: invalid_token}]\n",
        ONE + "    auth_errors: {any: [], never: [{status: 403}]}\n    send_token_via: {query: {name: t}}\n",
        ONE + "    scopes: a b\n    replay: {body_limit: 0}\n",
        ONE + "    settings: {a: 1, b: {env: A}}\n    ping: {path: /me, status: [200, '401-403']}\n",
        ONE + "      revocation_url: 'https://{{{connection.settings.a}}}.acme.com/t'\n      valid_domains: acme.com\n"
        "    settings: {a: x}\n",
        ONE + "      access_token_request: {body: '{\"a\": 1}', body_format: json, headers: {X-A: null}}\n",
        ONE + "      access_token_request: {extra: {a: 1, b: null, c: true}, method: GET}\n",
        "defaults: {connection: {timeouts: {connect: 1s}}, iclient: {scopes: [a], refresh_ahead: 5m}}\n" + ONE,
    ],
)
def test_what_the_loader_takes_an_editor_does_not_mark(text, tmp_path):
    (tmp_path / "f.yaml").write_text(text)

    assert load([tmp_path / "f.yaml"], AnyVariable()).definitions.connections
    assert valid(text)


def test_every_key_says_what_it_is_for():
    def silent(described, path):
        for name, one in described.get("properties", {}).items():
            if not one.get("description") and "$ref" not in one:
                yield f"{path}.{name}"
        for name, part in described.items():
            if isinstance(part, dict):
                yield from silent(part, f"{path}.{name}")
            for index, one in enumerate(part if isinstance(part, list) else []):
                if isinstance(one, dict):
                    yield from silent(one, f"{path}.{name}[{index}]")

    assert list(silent(schema(), "")) == []
