"""Each file of `golden/` is a mistake an operator makes; below it stands, word for word, what the loader says."""

from pathlib import Path

import pytest

from tests.definitions.written import CANARY, ENVIRON, said

GOLDEN = Path(__file__).parent / "golden"
MARK = "# ---- what the loader says ----\n"

case = pytest.mark.case

MISTAKES = [
    pytest.param("unknown-key", marks=case("C-1")),
    pytest.param("duplicate-key", marks=case("C-2")),
    pytest.param("several-documents", marks=case("C-3")),
    pytest.param("merge-key", marks=case("C-4")),
    pytest.param("recursive-alias", marks=case("C-6")),
    pytest.param("tag", marks=case("C-9")),
    pytest.param("top-level-list", marks=case("C-11")),
    pytest.param("top-level-scalar", marks=case("C-11")),
    pytest.param("empty-file", marks=case("C-11")),
    pytest.param("secret-read-as-another-type", marks=case("C-12")),
    pytest.param("value-read-as-another-type", marks=case("C-12")),
    pytest.param("wrong-type", marks=case("C-14")),
    pytest.param("out-of-range", marks=case("C-15")),
    pytest.param("same-name-twice", marks=case("C-16")),
    pytest.param("same-route-twice", marks=case("C-16")),
    pytest.param("missing-iclient", marks=case("C-17")),
    pytest.param("inline-secret", marks=case("C-18")),
    pytest.param("missing-variable", marks=case("C-19")),
    pytest.param("empty-variable", marks=case("C-20")),
    "value-forms",
    pytest.param("url-outside-valid-domains", marks=case("C-26")),
    pytest.param("label-boundary", marks=case("C-27")),
    pytest.param("userinfo", marks=case("C-28")),
    pytest.param("host-is-another", marks=case("C-29")),
    pytest.param("backslash", marks=case("C-30")),
    pytest.param("non-ascii-host", marks=case("C-31")),
    pytest.param("bracketed-name", marks=case("C-33")),
    pytest.param("numeric-host", marks=case("C-34")),
    pytest.param("insecure-url", marks=case("C-35")),
    pytest.param("port-not-allowed", marks=case("C-36")),
    pytest.param("valid-domain-too-broad", marks=case("C-37")),
    pytest.param("placeholder-in-host", marks=case("C-38")),
    "metadata-address",
    pytest.param("header-forbidden", marks=case("C-43")),
    "token-header-elsewhere",
    pytest.param("placeholder-in-url", marks=[case("C-26"), case("C-39")]),
    pytest.param("placeholders", marks=[case("C-40"), case("C-42")]),
    "base-url-from-token",
    "issuer",
    pytest.param("overrides", marks=case("C-44")),
    pytest.param("jwt", marks=[case("C-49"), case("T-92"), case("T-94")]),
    "token-exchange",
    "placeholders-of-defaults",
    pytest.param("reserved-parameter", marks=case("A-340")),
    "redirect-url",
    "connection-keys",
    "store-without-key",
    "store-keys",
    "store-in-memory",
    "store-in-redis",
    "store-in-redis-without-url",
    "store-in-redis-in-clear",
    "store-on-disk-with-redis-keys",
    "grant-matrix",
    "provider",
    "grants",
    "client-auth",
    pytest.param("client-authentication", marks=case("T-401")),
    "workers-out-of-range",
    "auth-errors",
    "auth-errors-of-bodies",
    "send-token-via",
    "base-url",
    "routes",
    "listeners",
    "long-unix-path",
    "choices-and-durations",
    "names",
    "unquoted-star",
    "unquoted-placeholder",
    "tls",
    "faults-of-defaults",
    "odds-and-ends",
    pytest.param("alias-as-key", marks=case("C-4")),
]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_every_fault_is_named_at_once_with_its_place_and_remedy(mistake, folder):
    written, expected = (GOLDEN / f"{mistake}.yaml").read_text(encoding="utf-8").split(MARK)

    lines = said(folder, written)

    assert [f"# {line}" for line in lines] == expected.splitlines()
    assert lines, "a mistake that nobody notices is no mistake"


@pytest.mark.parametrize("mistake", MISTAKES)
def test_no_fault_quotes_a_secret(mistake, folder):
    written = (GOLDEN / f"{mistake}.yaml").read_text(encoding="utf-8").split(MARK)[0]

    lines = "\n".join(said(folder, written))

    assert CANARY not in lines
    assert not any(value in lines for value in ENVIRON.values() if value.strip())


def test_every_golden_file_is_one_of_the_mistakes():
    listed = {mistake if isinstance(mistake, str) else mistake.values[0] for mistake in MISTAKES}

    assert {path.stem for path in GOLDEN.glob("*.yaml")} == listed
