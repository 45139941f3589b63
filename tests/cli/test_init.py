"""A first definition: whatever the provider and the grant, its answers load, and `check` names what nobody answered."""

import asyncio
import os
import pty
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from proxy.cli.draft import GENERIC, Draft
from proxy.definitions.load import load
from proxy.definitions.providers import names, preset
from proxy.errors import DefinitionsError
from tests.cli.command import ROOT, iclient_proxy
from tests.support.deadline import awaiting

OFFERED = [(name, grant) for name in names() for grant in preset(name).grants]


def pem(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.fixture(scope="module")
def keys():
    """Return a key for each kind of algorithm."""
    return {"RS": pem(rsa.generate_private_key(65537, 2048)), "ES": pem(ec.generate_private_key(ec.SECP256R1()))}


def answered(draft):
    return {each.place: each.example for each in draft.questions() if not each.secret}


def loaded(folder, draft, answers, keys):
    text = draft.text(answers)
    (folder / "f.yaml").write_text(text)
    key = keys["ES" if '"algorithm": "ES' in str(draft.preset) or "algorithm: ES" in str(draft.preset) else "RS"]
    environ = {
        each.default: key if each.place.endswith("private_key") else "canary-of-the-secret-that-is-long-enough"
        for each in draft.questions()
        if each.secret
    }
    return load((folder / "f.yaml",), environ)


@pytest.mark.parametrize(("name", "grant"), OFFERED)
def test_every_provider_has_a_definition_that_its_examples_complete(tmp_path, keys, name, grant):
    draft = Draft("crm", preset(name), grant)
    try:
        found = loaded(tmp_path, draft, answered(draft), keys)
    except DefinitionsError as error:
        if not {fault.code for fault in error.faults} <= {"key_alg_mismatch"}:
            raise
        found = loaded(tmp_path, draft, answered(draft), {"RS": keys["ES"], "ES": keys["RS"]})

    [connection] = found.definitions.connections
    assert (connection.iclient.grant_type, connection.name) == (grant, "crm")


@pytest.mark.parametrize("grant", GENERIC)
def test_an_api_of_ones_own_has_one_too(tmp_path, keys, grant):
    draft = Draft("api", None, grant)

    assert loaded(tmp_path, draft, answered(draft), keys).definitions.connections[0].iclient.grant_type == grant


@pytest.mark.parametrize(("name", "grant"), [("marketo", None), (None, "password"), ("keycloak", "client_credentials")])
def test_check_names_exactly_what_was_not_answered(tmp_path, keys, name, grant):
    known = preset(name) if name else None
    draft = Draft("crm", known, grant or next(iter(known.grants)))
    with pytest.raises(DefinitionsError) as raised:
        loaded(tmp_path, draft, {}, keys)

    missing = {each.place for each in draft.questions() if each.required and not each.secret and each.default is None}
    assert {fault.path.removeprefix("connections.crm.") for fault in raised.value.faults} == missing


async def test_without_a_terminal_nobody_is_asked(tmp_path):
    done = await iclient_proxy("init", "--provider", "marketo", "-o", "f.yaml", cwd=tmp_path)
    again = await iclient_proxy("init", "-o", "f.yaml", cwd=tmp_path)
    odd = [
        await iclient_proxy("init", *arguments)
        for arguments in (
            ("--provider", "hubspt"), ("--grant", "implicit"), ("--api", "x"), ("--name", "A b"),
            ("--provider", "hubspot", "--grant", "password"),
        )
    ]  # fmt: skip

    assert (done.status, done.out) == (0, "")
    assert "munchkin:    # for example" in (tmp_path / "f.yaml").read_text()
    assert [again.status, *(each.status for each in odd)] == [2] * 6
    assert "hubspot" in odd[0].err


async def test_on_a_terminal_each_question_is_asked_until_its_answer_fits(tmp_path):
    """Typed as a human does, at a terminal of its own."""
    ours, theirs = pty.openpty()
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "proxy", "init", "-o", "f.yaml",
        stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TERM": "dumb", "COLUMNS": "200"},
    )  # fmt: skip
    os.close(theirs)
    answers = ["marke", "marketo", "my-app", "", "not/a/munchkin", "123-abc-456"]
    async with awaiting("the end of the questions", 40):
        seen = await asyncio.to_thread(_typed, ours, answers)
        status = await running.wait()
    os.close(ours)

    assert status == 0, seen
    assert "That does not fit" in seen
    text = (tmp_path / "f.yaml").read_text()
    assert "client_id: my-app" in text
    assert "client_secret: {env: MARKETO_CLIENT_SECRET}" in text
    assert 'munchkin: "123-abc-456"' in text


def _typed(terminal, answers):
    """Answer each prompt, which ends with a colon and a space; return all that was shown."""
    seen, shown = "", ""
    left = list(answers)
    while True:
        try:
            piece = os.read(terminal, 4096).decode(errors="replace")
        except OSError:  # how Linux says that the other side is gone
            return seen
        seen, shown = seen + piece, shown + piece
        if shown.endswith(": ") and left:
            os.write(terminal, left.pop(0).encode() + b"\n")
            shown = ""
