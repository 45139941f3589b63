import pytest

from proxy.cli.where import admin_url
from proxy.errors import DefinitionsError

CONNECTION = """
connections:
  acme: {base_url: "https://api.acme.example", headers: {X-Key: a}}
"""


def file(tmp_path, text):
    path = tmp_path / "d.yaml"
    path.write_text(text + CONNECTION)
    return [path]


def test_what_is_named_wins_over_the_environment_and_that_over_the_definitions(tmp_path):
    config = file(tmp_path, 'listeners: {admin: {bind: "127.0.0.1:7001"}}')
    environ = {"ICLIENT_PROXY_ADMIN": "http://127.0.0.1:7002"}

    assert admin_url("http://127.0.0.1:7003", config, environ) == "http://127.0.0.1:7003"
    assert admin_url(None, config, environ) == "http://127.0.0.1:7002"
    assert admin_url(None, config, {}) == "http://127.0.0.1:7001"


@pytest.mark.parametrize(
    ("listener", "url"),
    [
        ('{bind: "0.0.0.0:7001"}', "http://127.0.0.1:7001"),
        ('{bind: "[::]:7001"}', "http://[::1]:7001"),
        ('{bind: "[::1]:7001"}', "http://[::1]:7001"),
        ('{bind: "10.1.2.3:7001"}', "http://10.1.2.3:7001"),
        ('{bind: "unix:/run/admin.sock"}', "unix:/run/admin.sock"),
        ("false", "http://127.0.0.1:7489"),
    ],
)
def test_the_listener_of_the_definitions_is_asked_from_this_machine(tmp_path, listener, url):
    assert admin_url(None, file(tmp_path, f"listeners: {{admin: {listener}}}"), {}) == url


def test_definitions_that_only_the_proxy_can_read_leave_the_usual_address(tmp_path):
    faulty = file(tmp_path, "log: {level: loud}")
    environ = {"ICLIENT_PROXY_CONFIG": str(faulty[0])}

    assert admin_url(None, None, environ) == "http://127.0.0.1:7489"
    with pytest.raises(DefinitionsError):
        admin_url(None, faulty, environ)


def test_without_definitions_the_usual_address_is_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert admin_url(None, None, {}) == "http://127.0.0.1:7489"
