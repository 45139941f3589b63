"""Where a store on disk lies, and with which keys it is encrypted."""

import base64

import pytest

from proxy.secret import Secret
from tests.definitions.written import ENVIRON, ONE, loaded

K1, K2 = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))
KEY = {"ICLIENT_PROXY_KEY": K1}


def store(folder, written, **environ):
    return loaded(folder, f"{written}\n{ONE}", {**ENVIRON, **environ}).definitions.store


def test_grants_are_kept_in_memory_unless_asked_otherwise(folder):
    assert store(folder, "via: forward") is None
    assert store(folder, "store: {kind: memory}") is None


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"ICLIENT_PROXY_STATE": "/state", "XDG_STATE_HOME": "/xdg", "HOME": "/ann"}, "/state/grants"),
        ({"XDG_STATE_HOME": "/xdg", "HOME": "/ann"}, "/xdg/iclient-proxy/grants"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/ann"}, "/ann/.local/state/iclient-proxy/grants"),
    ],
)
def test_state_lies_where_the_environment_says(folder, environ, path):
    assert str(store(folder, "state_dir: null\nstore: {kind: file, path: null}", **KEY, **environ).path) == path


def test_a_written_path_wins_and_starts_from_the_folder_of_the_definitions(folder):
    assert str(store(folder, "state_dir: /s\nstore: {kind: file}", **KEY).path) == "/s/grants"
    assert str(store(folder, "state_dir: /s\nstore: {kind: file, path: /g}", **KEY).path) == "/g"
    assert store(folder, "store: {kind: file, path: g}", **KEY).path == folder.absolute() / "g"


def test_keys_are_those_of_the_store_else_those_of_sealed_values(folder):
    written = "store: {kind: file, path: /g, key: {env: KEYS}}"

    assert store(folder, written, KEYS=f"{K2},{K1}", **KEY).keys == Secret(f"{K2},{K1}")
    assert store(folder, "store: {kind: file, path: /g}", **KEY).keys == Secret(K1)
