"""The reference page of the iClient names every key, no other, and only tests that there are."""

import re

from proxy.definitions.iclients import ICLIENT
from proxy.definitions.notation.shapes import Block
from tests.house import tree

PAGE = tree.ROOT / "docs" / "reference" / "iclient.md"
REQUESTS = ("access_token_request", "refresh_token_request", "revocation_request")
# Where a server of the test reads what was sent.
ON_THE_WIRE = re.compile(
    r"tests/(e2e|datapath|browser|outbound)/|tests/oauth/test_(form|oracles|on_the_wire)\.py|tests/tokens/test_(consent|keeper)\.py"
)
WHOLE = {"tls"}  # a block that many places share: its row names its keys


def rows():
    """Return key and tests of each row; `*_request` stands for the three requests."""
    found = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| ") and re.findall(r"`test_\w+`", cells[-1]):
            written = re.findall(r"`([^`]+)`", cells[-3])
            keys = [written[0].replace("*_request", name) for name in REQUESTS] if "*" in written[0] else written
            found.append((set(keys), re.findall(r"\[`(test_\w+)`\]\(([^)]+)\)", cells[-1])))
    return found


def keys(block, above=""):
    """Yield the keys of a block and of those inside it."""
    for name, key in block.keys.items():
        yield above + name
        if isinstance(key.kind, Block) and name not in WHOLE:
            yield from keys(key.kind, f"{above}{name}.")


def test_every_key_of_the_iclient_has_its_row():
    # The three requests have rows for what is inside them.
    written = set().union(*(found for found, _ in rows())) | set(REQUESTS)

    assert set(keys(ICLIENT)) - written == set()


def test_no_row_is_about_a_key_that_is_not_there():
    of_connections = {"username", "password"}
    written = set().union(*(found for found, _ in rows()))

    assert written - set(keys(ICLIENT)) == of_connections


def test_every_row_names_tests_that_there_are():
    absent = []
    for found, tests in rows():
        assert tests, found
        for name, place in tests:
            source = (PAGE.parent / place).resolve().read_text(encoding="utf-8")
            if not re.search(rf"^(async )?def {name}\(", source, re.MULTILINE):
                absent.append(f"{sorted(found)}: {place}::{name}")

    assert absent == []


def test_every_row_has_a_test_on_the_wire():
    assert [found for found, tests in rows() if not any(ON_THE_WIRE.search(place) for _, place in tests)] == []
