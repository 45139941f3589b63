import ast
import re

import pytest

from tests.house import tree

# Where a secret may become text, and why: its bytes leave the process there, or they are compared or looked for.
REVEALING = {
    "proxy/admin/api.py": "the session of an authorization goes to the program that began it",
    "proxy/admin/authorize.py": "the session of an authorization goes into the browser's cookie",
    "proxy/ca/authority.py": "the private key of a new authority is written to its file",
    "proxy/cli/masked.py": "the claims of an assertion made here are shown, its signature is not",
    "proxy/cli/request.py": "the credential of a listener goes to that listener",
    "proxy/cli/token.py": "the command's one output is the token",
    "proxy/definitions/keys/signer.py": "the private key of the authority goes into the library that signs with it",
    "proxy/definitions/keys/signing_keys.py": "a passphrase opens a key, a shared secret is one",
    "proxy/definitions/redis_url.py": "the URL of a store may hold a password and is taken apart",
    "proxy/definitions/templates/placeholders.py": "text is rendered for requests; what is made of a secret is one",
    "proxy/exchange/inject.py": "the access token goes onto the request",
    "proxy/exchange/plan.py": "a line about an exchange is searched for the secrets of its connection",
    "proxy/inbound/forward.py": "a caller's credential is compared with the listener's",
    "proxy/inbound/reverse.py": "a caller's credential is compared with the listener's",
    "proxy/inbound/tls.py": "the private key of a listener goes into the TLS library",
    "proxy/oauth/client_auth.py": "the client's secret or assertion goes to the token endpoint",
    "proxy/oauth/compose.py": "an assertion goes to the token endpoint",
    "proxy/oauth/device.py": "the device code goes to the token endpoint",
    "proxy/oauth/pkce.py": "the challenge is made from the verifier",
    "proxy/oauth/request.py": "password, refresh token and code go to the token endpoint",
    "proxy/oauth/revoke.py": "a token goes to the revocation endpoint",
    "proxy/observe/redact.py": "finished log lines are searched for every secret that is alive",
    "proxy/outbound/egress.py": "the credential of the egress proxy goes to it",
    "proxy/outbound/tls.py": "the client's private key goes into the TLS library",
    "proxy/runtime/workers/codec.py": "definitions and tokens go to a worker, through a socket pair of two processes",
    "proxy/sealing.py": "the keys that seal are handed to the cipher",
    "proxy/tokens/authorizations.py": "the session of a browser is compared with that of the authorization",
    "proxy/tokens/store/redis_streams.py": "the password of the store goes to its server",
    "proxy/tokens/fingerprint.py": "the seed of a refresh token is hashed",
    "proxy/tokens/renewal.py": "a store knows by its digest which refresh token is about to be used",
    "proxy/tokens/store/record.py": "a grant is encrypted",
}

VAGUE = {"base", "common", "helper", "helpers", "manager", "misc", "util", "utils"}


def calls(path, attribute):
    """Yield the calls of `….attribute(…)` and `attribute(…)` in one file."""
    for node in ast.walk(tree.syntax(path)):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
            if called == attribute:
                yield node


def test_every_module_begins_with_a_sentence_that_says_what_lives_there():
    silent = []
    for path in tree.modules():
        docstring = ast.get_docstring(tree.syntax(path))
        if path.read_text(encoding="utf-8").strip() and not (docstring and docstring.split("\n\n")[0].rstrip(".:")):
            silent.append(tree.name(path))

    assert silent == []


def test_no_module_is_longer_than_a_reader_can_hold():
    lengths = {tree.name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in tree.modules()}

    assert lengths
    assert {path: length for path, length in lengths.items() if length > 450} == {}


def test_no_module_has_a_name_that_says_nothing():
    assert [tree.name(path) for path in tree.modules() if VAGUE & set(path.stem.split("_"))] == []


def test_secrets_are_revealed_only_where_their_bytes_leave():
    revealing = {tree.name(path) for path in tree.modules() if any(calls(path, "reveal"))}

    assert revealing == set(REVEALING)


def test_every_task_has_a_name():
    nameless = [
        f"{tree.name(path)}:{call.lineno}"
        for path in tree.modules()
        for call in calls(path, "create_task")
        if not any(keyword.arg == "name" for keyword in call.keywords)
    ]

    assert nameless == []


@pytest.mark.parametrize("word", ["NotImplementedError", "TODO", "FIXME", "XXX"])
def test_nothing_is_promised_for_later_in_the_source(word):
    assert [tree.name(path) for path in tree.modules() if word in path.read_text(encoding="utf-8")] == []


def test_no_test_sleeps():
    """What waits for a condition, with a deadline, lives in tests/support."""
    sleeping = [
        f"{tree.name(path)}:{call.lineno}"
        for path in tree.files(".py", under="tests")
        if "support" not in path.parts
        for call in calls(path, "sleep")
        if not (call.args and isinstance(call.args[0], ast.Constant) and call.args[0].value == 0)
    ]

    assert sleeping == []


def test_no_test_replaces_our_code_by_a_mock():
    mocking = re.compile(r"unittest\.mock|\bMagicMock\b|\bmocker\b")
    users = [path for path in tree.files(".py", under="tests") if mocking.search(path.read_text(encoding="utf-8"))]

    assert [tree.name(path) for path in users] == []


def test_every_test_asserts():
    idle = []
    for path in tree.files(".py", under="tests"):
        if not path.name.startswith("test_"):
            continue
        for node in ast.walk(tree.syntax(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                words = ast.unparse(node)
                if not re.search(r"\bassert\b|\braises\b|\bassert_\w+\(|\bexpect\w*\(|\bcheck\w*\(|\bfail\(", words):
                    idle.append(f"{tree.name(path)}:{node.lineno}: {node.name}")

    assert idle == []


def test_a_case_of_the_catalogue_is_named_by_letter_and_number():
    seen = []
    for path in tree.files(".py", under="tests"):
        for call in calls(path, "case"):
            numbers = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
            if ast.unparse(call.func) in ("pytest.mark.case", "case"):
                seen += numbers

    odd = [number for number in seen if not re.fullmatch(r"[A-Z]-\d{1,3}", str(number))]
    assert seen

    assert odd == []
