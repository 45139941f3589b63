"""Where the definitions are when nobody says so."""

from pathlib import Path

import pytest

from proxy.definitions.places import config_paths


@pytest.mark.parametrize(
    ("named", "environ", "there", "expected"),
    [
        (["a", "b"], {"ICLIENT_PROXY_CONFIG": "c"}, {"config"}, ["a", "b"]),
        ([], {"ICLIENT_PROXY_CONFIG": "c"}, {"config"}, ["c"]),
        (None, {"ICLIENT_PROXY_CONFIG": ""}, {"config", "iclient-proxy.yaml"}, ["iclient-proxy.yaml"]),
        (None, {}, {"config", "/etc/iclient-proxy"}, ["config"]),
        (None, {}, {"/etc/iclient-proxy"}, ["/etc/iclient-proxy"]),
        (None, {}, set(), []),
    ],
)
def test_what_is_named_wins_then_the_variable_then_the_first_place_there_is(named, environ, there, expected):
    paths = None if named is None else [Path(name) for name in named]

    assert config_paths(paths, environ, lambda path: str(path) in there) == tuple(Path(name) for name in expected)
