"""Whatever the operator writes, it ends as definitions or as faults with a place, never as a traceback."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.definitions.load import Loaded, load
from proxy.definitions.schema import schema
from proxy.errors import DefinitionsError
from tests.definitions.written import ENVIRON

# One folder serves all examples: each writes the file anew.
REUSED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)


def outcome(folder, data):
    path = folder / "f.yaml"
    path.write_bytes(data)
    try:
        return load([path], ENVIRON)
    except DefinitionsError as error:
        return error


def names(described):
    """Yield every key that the schema knows."""
    if isinstance(described, dict):
        yield from described.get("properties", {})
        for part in described.values():
            yield from names(part)
    elif isinstance(described, list):
        for part in described:
            yield from names(part)


KEYS = st.sampled_from(sorted({*names(schema()), "acme", "x-note", "unknown"}))
TEXTS = st.sampled_from(
    ["null", "true", "30s", "0.4", "64KiB", "-1", "password", "client_credentials", "acme", "https://acme.com/t",
     "http://acme.com", "{{{x}}}", "", "127.0.0.1:0", "unix:/x", "403", "400-403", "*", "acme.com", "/acme", "always",
     "~"]
)  # fmt: skip
TREES = st.recursive(
    TEXTS.map(lambda text: text or '""'),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.dictionaries(KEYS, inner, max_size=4).map(
            lambda entries: "{" + ", ".join(f"{key}: {node}" for key, node in entries.items()) + "}"
        ),
    ),
    max_leaves=12,
)


@REUSED
@given(data=st.binary(max_size=200))
def test_any_bytes(tmp_path, data):
    assert isinstance(outcome(tmp_path, data), Loaded | DefinitionsError)


@REUSED
@given(text=st.text(max_size=200))
def test_any_text(tmp_path, text):
    assert isinstance(outcome(tmp_path, text.encode("utf-8", "replace")), Loaded | DefinitionsError)


@REUSED
@given(tree=st.dictionaries(st.sampled_from(list(schema()["properties"])), TREES, min_size=1, max_size=4))
def test_any_arrangement_of_known_keys(tmp_path, tree):
    found = outcome(tmp_path, "".join(f"{key}: {node}\n" for key, node in tree.items()).encode())

    if isinstance(found, DefinitionsError):
        assert found.faults
        assert all(fault.code and fault.message and "\n" not in str(fault) for fault in found.faults)
        assert list(found.faults) == sorted(set(found.faults))


@REUSED
@given(block=st.sampled_from(["iclients", "connections"]), entry=st.dictionaries(KEYS, TREES, max_size=8))
def test_any_arrangement_in_an_entry(tmp_path, block, entry):
    text = f"{block}:\n  acme:\n    x-note: 1\n" + "".join(f"    {key}: {node}\n" for key, node in entry.items())

    assert isinstance(outcome(tmp_path, text.encode()), Loaded | DefinitionsError)


@pytest.mark.parametrize("path", sorted(Path(__file__).parent.glob("golden/*.yaml")), ids=lambda path: path.stem)
def test_any_beginning_of_a_mistake(path, tmp_path):
    data = path.read_bytes()

    assert all(isinstance(outcome(tmp_path, data[:end]), Loaded | DefinitionsError) for end in range(0, len(data), 37))
