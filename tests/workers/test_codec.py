"""What goes from the main process to a worker: whole, secrets still secrets, and of a closed set of classes."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from proxy.access_token import AccessToken
from proxy.definitions.keys.signing_keys import SigningKey, shared_key
from proxy.definitions.load import load
from proxy.definitions.models import Connection, Definitions, IClient, Jwt, SecretFile, Tls, TokenExchange
from proxy.definitions.settings import AuthorityFiles, Deny, FileStore, ForwardListener, Listeners, UnixBind
from proxy.definitions.templates.placeholders import TemplateMap, compile_template
from proxy.definitions.templates.urls import compile_url
from proxy.oauth.failure import Failure, Outcome
from proxy.runtime.workers.codec import (
    packed_authority,
    packed_definitions,
    packed_life,
    unpacked_authority,
    unpacked_definitions,
    unpacked_life,
)
from proxy.secret import Secret, Unprinted
from proxy.tokens.lease import NEVER, Lease
from proxy.tokens.pace import Pause
from proxy.tokens.states import BackingOff, Cooldown, Flying, Life, Resting, Valid
from tests.definitions.test_schema import EXAMPLES, AnyVariable

SECRET = Secret("canary-client-secret")


def definitions(key: SigningKey | None = None) -> Definitions:
    iclient = IClient(
        name="acme",
        grant_type="token_exchange",
        client_auth="client_secret_basic",
        client_id=compile_template("app-{{{connection.settings.region}}}"),
        client_secret=SECRET,
        token_url=compile_url('https://auth.example.com/token?x={{{timestamp "X"}}}'),
        valid_domains=("auth.example.com",),
        token_exchange=TokenExchange(subject_token=SecretFile(path=Path("/run/subject"))),
        jwt=Jwt(algorithm="HS256", key=key, payload=TemplateMap((("iss", compile_template("me")), ("n", (1, None))))),
    )
    crm = Connection(
        name="crm",
        iclient=iclient,
        base_url=compile_url("https://{{{connection.token.fields.host}}}/api"),
        secrets=(("pin", Secret("canary-pin")),),
        headers=(("X-Id", compile_template("{{{connection.settings.a}}}")), ("X-Gone", None)),
        tls=Tls(ca="PEM", client_cert_ends=math.inf),
    )
    forward = ForwardListener(
        bind=UnixBind(path="/run/proxy"),
        deny=(Deny(network=ip_network("10.0.0.0/8")), Deny(network=ip_network("fd00::/8"), port=1)),
        intercept=AuthorityFiles(cert=Path("a.pem"), key=Path("a.key")),
    )
    return Definitions(workers=3, listeners=Listeners(forward=forward), connections=(crm,))


def travelled(packed: object) -> object:
    return json.loads(json.dumps(packed))


def test_definitions_arrive_as_they_were():
    sent = definitions()

    assert unpacked_definitions(travelled(packed_definitions(sent))) == sent


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_definitions_of_each_kind_arrive(example: Path):
    sent = load([example], AnyVariable()).definitions

    arrived = unpacked_definitions(travelled(packed_definitions(sent)))

    assert [each.name for each in arrived.connections] == [each.name for each in sent.connections]
    assert [each.base_url for each in arrived.connections] == [each.base_url for each in sent.connections]


def test_the_keys_of_a_store_do_not_leave_the_main_process():
    sent = replace(definitions(), store=FileStore(Path("/var/grants"), Secret("canary-store-key")))

    packed = json.dumps(packed_definitions(sent))

    assert "canary-store-key" not in packed
    assert unpacked_definitions(json.loads(packed)) == definitions()


def test_what_opens_sealed_values_does_not_leave_the_main_process():
    sent = definitions()
    assert sent.listeners.forward is not None
    assert sent.listeners.forward.intercept is not None
    files = replace(sent.listeners.forward.intercept, keys=Secret("canary-seal"))
    forward = replace(sent.listeners.forward, intercept=files)
    with_keys = replace(sent, listeners=replace(sent.listeners, forward=forward), authority=files)

    packed = json.dumps(packed_definitions(with_keys))

    assert "canary-seal" not in packed
    assert unpacked_definitions(json.loads(packed)) == replace(sent, authority=replace(files, keys=None))


def test_the_local_authority_arrives_with_what_signs():
    sent = ("PEM", Secret("canary-signer"))

    assert unpacked_authority(travelled(packed_authority(sent))) == sent
    assert unpacked_authority(travelled(packed_authority(None))) is None


def test_a_key_that_signs_does_not_leave_the_main_process_but_that_it_changed_is_seen():
    one, other = (shared_key(Secret(f"canary-shared-{n}" * 3), base64=False) for n in (1, 2))

    all_packed = [json.dumps(packed_definitions(definitions(key))) for key in (one, one, other)]

    assert all(isinstance(key.identity, Secret) and key.identity.reveal() not in all_packed[0] for key in (one, other))
    first, same, changed = (unpacked_definitions(json.loads(packed)) for packed in all_packed)
    assert first == same
    assert first != changed
    assert first.connections[0].iclient is not None
    assert first.connections[0].iclient.jwt is not None
    assert first.connections[0].iclient.jwt.key is not None
    assert first.connections[0].iclient.jwt.key.shared is None


def test_a_life_arrives_as_it_was_with_its_token():
    fields = Unprinted(host="h.example.com", nested={"list": [1, {"deep": None}]})
    token = AccessToken(Secret("canary-token"), 7, fields, {"realm": "1"})
    sent = Life(
        holding=Valid(Lease(token, 1.25, NEVER, NEVER, NEVER, replaces_refused=True)),
        errand=Flying(Resting()),
        cooldown=Cooldown(99.0, 2),
        rejections=(1.0, 2.0),
        generation=7,
    )
    life = unpacked_life(travelled(packed_life(sent)))

    assert isinstance(life.holding, Valid)
    arrived = life.holding.lease.token
    assert (arrived.value, arrived.generation, arrived.fields, arrived.callback) == (
        token.value, 7, fields, {"realm": "1"},
    )  # fmt: skip
    assert isinstance(arrived.fields, Unprinted)
    assert replace(life, holding=sent.holding) == sent
    assert "canary" not in repr(life)


def test_a_failure_arrives_as_it_was():
    pause = Pause(1.0, 2.0, 3.0)
    sent = Life(errand=BackingOff(Failure(Outcome.TIMEOUT, "token_endpoint_timeout"), 2, pause, 0.5))

    assert unpacked_life(travelled(packed_life(sent))) == sent


@pytest.mark.parametrize("packed", [{"class": "Popen", "is": []}, {"enum": "Signals", "is": 9}, {"class": "Life"}])
def test_what_is_of_no_known_class_does_not_become_an_object(packed: object):
    try:
        made: object = unpacked_life(packed)
    except KeyError:
        made = None

    assert made is None or made == packed


def test_what_is_of_no_known_class_does_not_leave_the_main_process():
    with pytest.raises(TypeError, match="does not go to a worker"):
        packed_life(Life(cooldown=object()))  # type: ignore[arg-type]
