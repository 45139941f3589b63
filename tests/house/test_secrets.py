"""House rules about secrets: how they are compared, how exceptions are rendered, and that none lies in the files."""

import ast
import math
import re
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from tests.house import tree

# Names of what may be a secret. What is compared by == under such a name is listed below, with the reason.
_SECRET = re.compile(
    r"(^|_)(secret|secrets|password|passphrase|token|credential|credentials|bearer|session|cookie|verifier|assertion"
    r"|seed|ticket|mac|signature|nonce)$"
)
# What is named like a secret and compared by ==, and why that tells nobody anything.
ALLOWED = {
    "proxy/admin/cookies.py": "a session that was drawn this moment, and nobody has seen, with what the browser sent",
    "proxy/celigo/assertions.py": "names of placeholders in an exported file",
    "proxy/celigo/iclient.py": "names of placeholders in an exported file",
    "proxy/celigo/placeholders.py": "words of a template",
    "proxy/cli/masked.py": "two Secrets: their == takes constant time; nobody outside asks",
    "proxy/definitions/client_auth.py": "two booleans",
    "proxy/demo/story.py": "tokens of the demonstration, which are printed",
    "proxy/demo/world.py": "tokens of the demonstration, which are printed",
    "proxy/inbound/forward.py": "the credential of now with the one that let the stream in: both are or were ours",
}
# Words of high entropy that are no secrets: published examples, and one of this page's own.
KNOWN = {
    "XDwL9e0VAW_2cII0dAPoQKHCKUy4C1P9DIpoOsSYkbMG",  # what `seal` prints, in docs/values.md, without its key
    "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",  # RFC 7636, Appendix B
    "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
}


def leaf(node):
    """Return the last name of an expression: `a.b.token` is `token`, `token.reveal()` is what it reveals."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr in ("reveal", "encode", "strip", "decode", "lower"):
            return leaf(node.func.value)
        return node.func.attr
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        return str(node.slice.value)
    return getattr(node, "id", "")


def compared(path):
    """Yield where something that is named like a secret is compared by == with a variable."""
    for node in ast.walk(tree.syntax(path)):
        if not isinstance(node, ast.Compare):
            continue
        sides = [node.left, *node.comparators]
        plain = all(isinstance(op, ast.Eq | ast.NotEq | ast.In | ast.NotIn) for op in node.ops)
        if not plain or any(isinstance(side, ast.Constant | ast.Tuple | ast.Set) for side in sides):
            continue
        membership = any(isinstance(op, ast.In | ast.NotIn) for op in node.ops)
        looked_at = [node.left] if membership else sides
        if any(_SECRET.search(leaf(side).lower()) for side in looked_at) or "reveal()" in ast.unparse(node):
            yield f"{tree.name(path)}:{node.lineno}: {ast.unparse(node)}"


@pytest.mark.case("S-323")
def test_no_secret_is_compared_by_the_first_difference():
    found = [place for path in tree.modules() for place in compared(path)]
    allowed = [place for place in found if place.split(":")[0] in ALLOWED]

    assert sorted(set(found) - set(allowed)) == []
    assert {place.split(":")[0] for place in allowed} == set(ALLOWED)


@pytest.mark.case("S-323")
@pytest.mark.parametrize(
    "line",
    ["given == secret", "self._token != given", "a.password.reveal() == b", "session in sessions",
     "x['token'] == given", "token.encode() == other"],
)  # fmt: skip
def test_the_rule_would_see_such_a_comparison(line, tmp_path, monkeypatch):
    monkeypatch.setattr(tree, "ROOT", tmp_path)
    file = tmp_path / "wrong.py"
    file.write_text(f"def f():\n    return {line}\n")

    assert len(list(compared(file))) == 1


@pytest.mark.case("S-323")
def test_what_callers_show_is_compared_in_constant_time():
    """The four places where somebody outside shows a secret of ours: each hands it to `hmac.compare_digest`."""
    places = {
        "proxy/admin/tickets.py": "compare_digest",
        "proxy/inbound/forward.py": "compare_digest",
        "proxy/inbound/reverse.py": "compare_digest",
        "proxy/tokens/authorizations.py": "compare_digest",
        "proxy/secret.py": "compare_digest",
        "proxy/admin/access.py": "Secret(credential.strip()) == self.auth",
    }

    assert [name for name, how in places.items() if how not in (tree.ROOT / name).read_text(encoding="utf-8")] == []


@pytest.mark.case("S-304")
def test_no_renderer_of_exceptions_is_used_that_shows_locals():
    words = re.compile(
        r"dict_tracebacks|ExceptionRenderer|ExceptionDictTransformer|RichTracebackFormatter|show_locals|capture_locals"
        r"|format_exc_info|rich\.traceback"
    )

    users = [tree.name(path) for path in tree.modules() if words.search(path.read_text(encoding="utf-8"))]

    assert users == []
    assert all(
        "pretty_exceptions" not in ast.unparse(call) or "False" in ast.unparse(call)
        for path in tree.modules()
        for call in ast.walk(tree.syntax(path))
        if isinstance(call, ast.Call)
    )


# ---------------------------------------------------------------------------------- S-328: files, the wheel, history

_PRIVATE_KEY = re.compile(rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----\s+(?:[A-Za-z0-9+/=]{40,}\s+){2}")
_KNOWN_SHAPES = re.compile(
    rb"\b(?:AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{60,}|xox[abprs]-\d{8,}-[A-Za-z0-9-]{20,}"
    rb"|sk_live_[A-Za-z0-9]{20,}|AIza[\w-]{35}|ya29\.[\w-]{40,}|glpat-[\w-]{20}|npm_[A-Za-z0-9]{36}|pypi-AgEI[\w-]{40,})"
)
_WORD = re.compile(rb"[A-Za-z0-9+/_=-]{32,}")
# Files whose words of high entropy are no secrets: sums of packages.
_SUMS = re.compile(r"(\.lock|package-lock\.json|\.svg)$")
# Bits a character. English and code lie below 4; 32 random characters of base64 above 4.4.
_RANDOM = 4.4


def entropy(word):
    """Return the bits of Shannon entropy for each character."""
    size = len(word)
    return -sum(number / size * math.log2(number / size) for number in Counter(word).values())


def suspicious(name, data):
    """Return what looks like a secret in a file."""
    found = [match[0][:40] for match in (*_PRIVATE_KEY.finditer(data), *_KNOWN_SHAPES.finditer(data))]
    if not _SUMS.search(name):
        for word in _WORD.findall(data):
            mixed = re.search(rb"[a-z]", word) and re.search(rb"[A-Z]", word) and len(re.findall(rb"[0-9]", word)) >= 4
            if mixed and b"canary" not in word.lower() and entropy(word) >= _RANDOM:
                found.append(word)
    return [f"{name}: {each.decode('latin-1')}" for each in found]


@pytest.mark.case("S-328")
def test_no_file_of_the_project_holds_a_key_or_a_token():
    found = [each for path in tree.files() for each in suspicious(tree.name(path), path.read_bytes())]

    assert [each for each in found if each.partition(": ")[2] not in KNOWN] == []


@pytest.mark.case("S-328")
@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN PRIVATE KEY-----\n" + "\n".join(["MIIEvQ" + "IBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ"] * 3),
        "AKIA" + "IOSFODNN7EXAMPLE",
        "ghp_" + "Ab3De6Gh9Jk2Mn5Pq8" + "St1Vw4Yz7Bc0Ef3Hi6",
        "secret: " + "q8Zr2LmX0vKp4TgY" + "7cNd1HsWb9JfUe5A",
    ],
    ids=["a private key", "a key of a cloud", "a token of a forge", "a random word"],
)
def test_the_search_would_see_one(text):
    assert suspicious("a.py", text.encode())


@pytest.mark.case("S-328")
def test_the_wheel_and_its_source_hold_no_key_and_nothing_but_the_product(tmp_path):
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path)],
        check=False, capture_output=True, text=True, cwd=tree.ROOT,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        texts = {name: archive.read(name) for name in names if "/RECORD" not in name}
        found = [each for name, data in texts.items() for each in suspicious(name, data)]

    odd = {".pem", ".key", ".p12", ".pfx", ".env", ".log", ".pyc"}
    assert [name for name in names if not re.match(r"(proxy/|iclient_proxy-[\d.]+\S*\.dist-info/)", name)] == []
    assert [name for name in names if Path(name).suffix in odd] == []
    assert [each for each in found if each.partition(": ")[2] not in KNOWN] == []


@pytest.mark.case("S-328")
@pytest.mark.needs("git")
def test_the_history_holds_no_private_key():
    if not (tree.ROOT / ".git").exists():
        pytest.skip("not a clone")
    history = subprocess.run(
        ["git", "log", "--all", "-p", "--no-color", "--no-textconv", "-G", "PRIVATE KEY-----|ghp_|AKIA|xox[abp]-"],
        check=True, capture_output=True, cwd=tree.ROOT,
    ).stdout  # fmt: skip
    added = b"\n".join(line[1:] for line in history.split(b"\n") if line.startswith(b"+"))

    assert [match[0][:60] for match in (*_PRIVATE_KEY.finditer(added), *_KNOWN_SHAPES.finditer(added))] == []
