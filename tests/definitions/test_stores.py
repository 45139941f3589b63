"""Where a store lies, and with which keys it is encrypted."""

import base64
import sys

import pytest

from proxy.definitions.models import Tls
from proxy.definitions.settings import RedisAddress
from proxy.secret import Secret
from tests.definitions.written import ENVIRON, ONE, loaded, said

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


# ------------------------------------------------------------------------------------------------------------ Redis


def redis(folder, url, more=""):
    return store(folder, f"store: {{kind: redis, url: {{env: URL}}{more}}}", URL=url, **KEY)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://cache.example", RedisAddress(host="cache.example")),
        ("redis://10.0.0.1:7000/3", RedisAddress(host="10.0.0.1", port=7000, database=3)),
        ("rediss://[::1]:6380/", RedisAddress(host="::1", port=6380)),
        ("redis://:p%40ss@h", RedisAddress(host="h", password=Secret("p@ss"))),
        ("REDIS://ann:a:b%2Fc@h/0", RedisAddress(host="h", username="ann", password=Secret("a:b/c"))),
        ("unix:///run/redis.sock", RedisAddress(path="/run/redis.sock")),
        (
            "unix://ann:pw@/run/a%20b?db=15",
            RedisAddress(path="/run/a b", database=15, username="ann", password=Secret("pw")),
        ),
    ],
)
def test_a_url_says_where_the_server_is_and_who_asks(folder, url, address):
    assert redis(folder, url).address == address


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://canary", "expected redis://"),
        ("canary:6379", "expected redis://"),
        ("redis:/canary", "expected redis://"),
        ("redis://", "names no host"),
        ("redis://:6379", "names no host"),
        ("redis://[::1", "expected redis://"),
        ("redis://canary:port", "port"),
        ("redis://canary:70000", "port"),
        ("redis://canary:0", "port 0"),
        ("redis://canary/name", "number of a database"),
        ("redis://canary/01", "number of a database"),
        ("redis://canary?db=1", "no query"),
        ("redis://ann@canary", "needs its password"),
        ("redis://ann:@canary", "needs its password"),
        ("redis://ann:canary#1@h", "%23"),
        ("redis://ann:can/ary@h", "port of the URL"),
        ("redis://ann:can ary@h", "percent-encoded"),
        ("redis://ann:can%ary@h", "percent-encoded"),
        ("redis://can\u00e4ry", "percent-encoded"),
        ("unix://canary", "path of a socket"),
        ("unix://host/canary", "path of a socket"),
        ("unix:///canary?timeout=1", "?db=0"),
    ],
)
def test_a_url_that_is_none_is_refused_and_never_quoted(folder, url, words):
    lines = said(folder, "store: {kind: redis, url: {env: URL}}\n" + ONE, {**ENVIRON, **KEY, "URL": url})

    assert len(lines) == 1
    assert lines[0].startswith("invalid_url f.yaml:1:22: store.url: ")
    assert words in lines[0]
    assert "canary" not in lines[0]


def test_a_url_without_a_password_may_stand_in_the_file_and_one_with_a_password_is_a_secret(folder):
    assert store(folder, "store: {kind: redis, url: 'redis://cache'}", **KEY).address.host == "cache"
    inline = "store: {kind: redis, url: 'redis://:canary@cache'}\n" + ONE

    assert [line.split()[0] for line in said(folder, inline, {**ENVIRON, **KEY})] == ["inline_secret"]


def test_what_is_not_written_about_a_server_is_safe(folder):
    found = redis(folder, "redis://h")

    assert (found.namespace, found.on_failure, found.required, found.tls) == ("default", "hold", False, None)
    assert found.keys == Secret(K1)


def test_what_is_written_about_a_server_is_taken(folder):
    more = ", namespace: 'blau:grün', on_failure: refresh, required: true, tls: {server_name: cache.internal}"

    found = redis(folder, "rediss://h", more)

    assert (found.namespace, found.on_failure, found.required) == ("blau:grün", "refresh", True)
    assert found.tls == Tls(server_name="cache.internal")


def test_tls_comes_with_the_scheme_and_its_settings_need_it(folder):
    assert redis(folder, "rediss://h").tls == Tls()
    plain = "store: {kind: redis, url: 'redis://h', tls: {server_name: h}}\n" + ONE

    lines = said(folder, plain, {**ENVIRON, **KEY})

    assert lines == [
        "not_applicable f.yaml:1:40: store.tls: tls is for a url that begins with rediss://; write that, or remove it"
    ]


@pytest.mark.parametrize(
    ("url", "warned"),
    [("redis://:pw@h", True), ("redis://h", False), ("rediss://:pw@h", False), ("redis://:pw@127.0.0.1", False)],
)
def test_a_password_that_goes_in_clear_is_warned_of(folder, url, warned):
    text = "store: {kind: redis, url: {env: URL}}\n" + ONE

    warnings = loaded(folder, text, {**ENVIRON, **KEY, "URL": url}).warnings

    assert [fault.code for fault in warnings] == ["insecure_url"] * warned


def test_without_its_package_a_store_in_redis_is_refused_by_the_name_of_the_extra(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "redis", None)  # what Python itself does to a module that may not be imported

    lines = said(folder, "store: {kind: redis, url: 'redis://h'}\n" + ONE, {**ENVIRON, **KEY})

    (line,) = lines
    assert line.startswith("missing_extra f.yaml:1:9: store.kind: ")
    assert line.endswith("pip install 'iclient-proxy[redis]'")
