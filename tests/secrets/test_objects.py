"""Objects that carry secrets, turned into text in every way that Python has, and exceptions that pass them by."""

import copy
import dataclasses
import json
import logging
import pickle
import pprint
import random
import reprlib
import traceback
from string import Template

import pytest

from proxy.access_token import AccessToken
from proxy.cli.failures import tell
from proxy.definitions.load import load
from proxy.oauth.grant import Authorization, Grant
from proxy.oauth.response import Issued, read
from proxy.outbound.resolve import Resolver
from proxy.runtime.environment import Environment
from proxy.runtime.keepers import keeper_for
from proxy.sealing import Keyring
from proxy.secret import Secret, Unprinted
from proxy.tokens.authorizations import Flows
from tests.oauth.answers import NOW, answer, iclient
from tests.secrets.cast import Servers, Words, definitions
from tests.support.canaries import assert_free
from tests.tokens.kept import LIMITS, PushedClock

WORDS = Words(302)

# What turns an object into text; json, pickle and the like may refuse instead.
TEXTS = {
    "repr": repr,
    "str": str,
    "ascii": ascii,
    "f-string": lambda it: f"{it!r} {it} {it!s}",
    "format": format,
    "%s": lambda it: "%s %r" % (it, it),  # noqa: UP031 one of the ways
    "in a list": lambda it: str([it, {"it": it}, (it,)]),
    "Template": lambda it: Template("$it").substitute(it=it),
    "reprlib": reprlib.repr,
    "pprint": lambda it: pprint.pformat(it, width=40),
    "vars": lambda it: repr(vars(it)) if hasattr(it, "__dict__") else "",
    "asdict": lambda it: repr(dataclasses.asdict(it)) if dataclasses.is_dataclass(it) else "",
    "astuple": lambda it: repr(dataclasses.astuple(it)) if dataclasses.is_dataclass(it) else "",
    "logging": lambda it: logging.LogRecord("x", 20, "f", 1, "%s %r", (it, it), None).getMessage(),
    "deepcopy": lambda it: repr(copy.deepcopy(it)),
    "copy": lambda it: repr(copy.copy(it)),
    "json": json.dumps,
    "json with str": lambda it: json.dumps(it, default=str),
    "json with repr": lambda it: json.dumps(it, default=repr),
    "json with vars": lambda it: json.dumps(it, default=lambda each: getattr(each, "__dict__", repr(each))),
    "pickle": lambda it: pickle.dumps(it).decode("latin-1"),
    "slots": lambda it: repr([getattr(it, name, 0) for name in getattr(type(it), "__slots__", ()) if name[0] != "_"]),
}


@pytest.fixture(scope="module")
def carriers(tmp_path_factory):
    """Everything that carries a secret, by name."""
    folder = tmp_path_factory.mktemp("objects")
    servers = Servers(WORDS)
    servers.authorization.port = 1
    servers.upstream.forsake()
    (folder / "definitions.yaml").write_text(json.dumps(definitions(WORDS, servers, folder)))
    environ = {**WORDS.environment, "HOME": str(folder)}
    loaded = load([folder / "definitions.yaml"], environ)
    found = {"definitions": loaded.definitions, "loaded": loaded, "environment": Environment(environ)}
    for connection in loaded.definitions.connections:
        found[f"connection {connection.name}"] = connection
        found[f"iclient of {connection.name}"] = connection.iclient
        if connection.iclient is not None and connection.iclient.jwt is not None:
            found[f"jwt of {connection.name}"] = connection.iclient.jwt
            found[f"key of {connection.name}"] = connection.iclient.jwt.key
    found["listeners"] = loaded.definitions.listeners
    found["store"] = loaded.definitions.store
    found["secret"] = Secret(WORDS.new("a secret"))
    found["keyring"] = Keyring.of(Secret(WORDS.environment["ICLIENT_PROXY_KEY"]))
    found["access token"] = AccessToken(
        Secret(WORDS.new("token")), 1, Unprinted(tenant_key=WORDS.new("field")), Unprinted(code=WORDS.new("callback"))
    )
    found["grant"] = Grant(refresh_token=Secret(WORDS.new("r")), access_token=Secret(WORDS.new("a")))
    found["authorization"] = Authorization(
        Secret(WORDS.new("code")), Secret(WORDS.new("verifier")), "https://x/", "state"
    )
    issued = read(
        answer({"access_token": WORDS.new("issued"), "refresh_token": WORDS.new("issued r"), "token_type": "Bearer",
                "id_token": WORDS.new("issued i")}),
        iclient(), limit=1 << 20, now=NOW,
    )  # fmt: skip
    assert isinstance(issued, Issued)
    found["issued"] = issued
    flows = Flows(random.Random(1).randbytes, lambda: 0.0)
    _, flow = flows.begin("crm", "crm", "https://x/", Secret(WORDS.new("verifier of a flow")), iclient())
    WORDS.learn("session of a flow", flow.session.reveal())
    found["flow"], found["flows"] = flow, flows
    crm = next(each for each in loaded.definitions.connections if each.name == "password")
    found["keeper"] = keeper_for(crm, LIMITS, clock=PushedClock(), random=random.Random(1), resolver=Resolver())
    found["issuer"] = found["keeper"].issuer
    return found


@pytest.mark.case("S-302")
@pytest.mark.parametrize("way", TEXTS)
def test_no_way_of_making_text_of_an_object_shows_its_secret(carriers, way):
    said = []
    for name, carrier in carriers.items():
        try:
            said.append(f"{name}: {TEXTS[way](carrier)}")
        except (TypeError, ValueError, AttributeError, pickle.PicklingError) as refused:
            said.append(f"{name}: {refused!r}")

    assert_free(WORDS.scanner, way, "\n".join(said).encode(), WORDS.control)


@pytest.mark.case("S-302")
@pytest.mark.parametrize("refusing", [json.dumps, pickle.dumps])
def test_a_secret_is_not_serialised(refusing):
    with pytest.raises(TypeError):
        refusing(Secret("canary-of-a-pickle"))


@pytest.mark.case("S-303", "S-304", "S-305")
def test_an_exception_that_passes_secrets_by_shows_none_not_even_in_its_locals(carriers):
    for name, carrier in carriers.items():
        shown = passed_by(carrier)

        assert b"carrier = " in shown
        assert_free(WORDS.scanner, f"a traceback beside {name}", shown, WORDS.control)


def passed_by(carrier):
    """Return all that can be told of exceptions that hold `carrier` in every place that exceptions have."""
    try:
        try:
            raise KeyError(carrier)
        except KeyError as inner:
            inner.add_note(f"while {carrier!r} was at hand")
            raise ValueError(f"odd {carrier}", carrier) from inner
    except ValueError as error:
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
        return f"{shown} {error.args!r} {error.__cause__!r} {error.__context__!r}".encode()


@pytest.mark.case("S-303", "S-318")
def test_a_command_that_crashes_shows_no_secret_that_an_exception_quotes(carriers, capsys):
    secret = carriers["secret"]
    try:
        raise LookupError(f"https://auth.example.com/?client_secret={secret.reveal()}")
    except LookupError as error:
        statuses = [tell(error, debug=debug) for debug in (False, True)]

    assert statuses == [70, 70]
    said = capsys.readouterr().err
    assert "https://auth.example.com/?client_secret=***" in said
    assert_free(WORDS.scanner, "a crash", said.encode(), WORDS.control)
