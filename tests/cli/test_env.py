"""What `env` prints, evaluated by a real shell: never compared as text where a shell or a YAML reader can tell."""

import os
import subprocess

import pytest
import yaml

from proxy.cli.env import rendered, way
from proxy.cli.environment import Runtime
from proxy.cli.failures import UsageError
from proxy.definitions.models import Connection, Definitions
from proxy.definitions.settings import (
    AuthorityFiles,
    BasicCredential,
    ForwardListener,
    Listeners,
    TcpBind,
    UnixBind,
)
from proxy.secret import Secret
from tests.cli.command import iclient_proxy

SHELLS = [each for each in Runtime if each not in (Runtime.DOCKER, Runtime.K8S)]
# Those that read variables; Java reads properties only.
READERS = [each for each in SHELLS if each is not Runtime.JAVA]


def definitions(*hosts, **forward):
    connections = tuple(
        Connection(name=f"c{number}", base_url=f"https://{host}", hosts=(host,))
        for number, host in enumerate(hosts or ("api.example.com",))
    )
    return Definitions(listeners=Listeners(forward=ForwardListener(**forward)), connections=connections)


def printed(runtime, found, *, address=None, connection=None, trust=None, bypass=()):
    return "\n".join(rendered(runtime, way(found, address, connection, trust, bypass)))


def evaluated(text, home="/nowhere", **environment):
    """Return the environment after a POSIX shell has evaluated the text."""
    done = subprocess.run(
        ["sh", "-euc", 'eval "$TEXT"; env -0'],
        env={"PATH": os.environ["PATH"], "HOME": str(home), "TEXT": text, **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(entry.partition("=")[::2] for entry in done.stdout.split("\0") if entry)


def intercepting(folder):
    return {"intercept": AuthorityFiles(cert=folder / "ca.pem", key=folder / "ca.key")}


@pytest.mark.parametrize("runtime", READERS)
def test_a_shell_gets_the_address_of_the_listener_in_every_case_that_is_read(runtime):
    found = evaluated(printed(runtime, definitions(bind=TcpBind(host="127.0.0.1", port=3129))))

    assert {found[name] for name in ("http_proxy", "https_proxy")} == {"http://127.0.0.1:3129"}
    if runtime is not Runtime.WGET:
        assert {found[name] for name in ("HTTP_PROXY", "HTTPS_PROXY")} == {"http://127.0.0.1:3129"}


@pytest.mark.parametrize("runtime", READERS)
def test_what_goes_past_the_proxy_is_named_in_both_forms(runtime):
    found = evaluated(printed(runtime, definitions(), bypass=["example.org", ".internal.example", "10.0.0.1"]))

    assert found["no_proxy"] == (
        "localhost,127.0.0.1,::1,example.org,.example.org,internal.example,.internal.example,10.0.0.1"
    )


def test_a_claimed_loopback_address_does_not_go_past_the_proxy():
    found = evaluated(printed(Runtime.CURL, definitions("127.0.0.1")))

    assert found["no_proxy"] == ""


def test_java_gets_properties_and_its_own_list_of_exceptions():
    found = evaluated(printed(Runtime.JAVA, definitions(), bypass=["example.org"]))

    assert "http_proxy" not in found
    assert found["JAVA_TOOL_OPTIONS"].split() == [
        "-Dhttp.proxyHost=127.0.0.1",
        "-Dhttp.proxyPort=3128",
        "-Dhttps.proxyHost=127.0.0.1",
        "-Dhttps.proxyPort=3128",
        "-Dhttp.nonProxyHosts=localhost|127.*|[::1]|example.org|*.example.org",
    ]


@pytest.mark.parametrize(("runtime", "name"), [(Runtime.JAVA, "JAVA_TOOL_OPTIONS"), (Runtime.NODE, "NODE_OPTIONS")])
def test_options_that_the_variable_holds_already_are_kept(runtime, name):
    text = printed(runtime, definitions())
    alone, beside = evaluated(text)[name], evaluated(text, **{name: "--mine='a b'"})[name]

    assert beside == f"--mine='a b' {alone}"


@pytest.mark.parametrize("runtime", SHELLS)
def test_authorities_are_named_only_where_interception_is_on(runtime, tmp_path):
    without = printed(runtime, definitions())
    text = printed(runtime, definitions(**intercepting(tmp_path)))

    assert str(tmp_path) not in without
    assert str(tmp_path) in str(evaluated(text, tmp_path))
    assert "# once: iclient-proxy ca export --format " in text


def test_applications_may_find_the_authorities_elsewhere(tmp_path):
    text = printed(Runtime.CURL, definitions(**intercepting(tmp_path)), trust=tmp_path / "public")

    assert evaluated(text)["CURL_CA_BUNDLE"] == str(tmp_path / "public" / "bundle.pem")


@pytest.mark.parametrize(
    ("runtime", "names", "file"),
    [
        (Runtime.CURL, ("CURL_CA_BUNDLE",), "bundle.pem"),
        (Runtime.GIT, ("GIT_SSL_CAINFO",), "bundle.pem"),
        (Runtime.PYTHON, ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"), "bundle.pem"),
        (Runtime.PERL, ("SSL_CERT_FILE",), "bundle.pem"),
        (Runtime.GO, ("SSL_CERT_FILE",), "bundle.pem"),
        (Runtime.DOTNET, ("SSL_CERT_FILE",), "bundle.pem"),
        (Runtime.NODE, ("NODE_EXTRA_CA_CERTS",), "bundle.pem"),
    ],
)
def test_each_runtime_gets_the_variable_that_it_reads(runtime, names, file, tmp_path):
    found = evaluated(printed(runtime, definitions(**intercepting(tmp_path))), tmp_path)

    assert {found[name] for name in names} == {str(tmp_path / file)}


def test_wget_and_php_get_a_file_of_their_own(tmp_path):
    folder = tmp_path / "a 'b' $c"
    folder.mkdir()
    wget = evaluated(printed(Runtime.WGET, definitions(**intercepting(folder))), tmp_path)
    php = evaluated(printed(Runtime.PHP, definitions(**intercepting(folder))), tmp_path)

    assert (tmp_path / ".config/iclient-proxy/wgetrc").read_text() == f"ca_certificate = {folder}/bundle.pem\n"
    assert wget["WGETRC"] == str(tmp_path / ".config/iclient-proxy/wgetrc")
    assert (tmp_path / ".config/iclient-proxy/php/trust.ini").read_text().splitlines() == [
        f'curl.cainfo = "{folder}/bundle.pem"',
        f'openssl.cafile = "{folder}/bundle.pem"',
    ]
    assert php["PHP_INI_SCAN_DIR"] == f":{tmp_path}/.config/iclient-proxy/php"


@pytest.mark.parametrize("runtime", Runtime)
def test_no_password_is_printed_but_taken_from_the_environment(runtime):
    auth = BasicCredential(username="alice@shop", password=Secret("canary-secret"))
    text = printed(runtime, definitions(proxy_auth=auth))

    assert "canary" not in text
    if runtime in READERS:
        found = evaluated(text, PROXY_PASSWORD="p%40ss")
        assert found["http_proxy"] == "http://alice%40shop:p%40ss@127.0.0.1:3128"


def test_without_the_password_the_shell_says_what_is_missing():
    auth = BasicCredential(username="alice", password=Secret("canary-secret"))
    text = printed(Runtime.CURL, definitions(proxy_auth=auth))
    done = subprocess.run(["sh", "-c", text], env={}, capture_output=True, text=True, check=False)

    assert done.returncode != 0
    assert "PROXY_PASSWORD" in done.stderr


def test_a_connection_is_told_by_the_user_name_where_two_claim_one_host():
    found = definitions("api.example.com", "api.example.com")

    assert evaluated(printed(Runtime.CURL, found, connection="c1"))["http_proxy"] == "http://c1:x@127.0.0.1:3128"
    with pytest.raises(UsageError, match="no connection is called 'c2'"):
        way(found, None, "c2", None, ())


@pytest.mark.parametrize(
    ("bind", "address", "url"),
    [
        (TcpBind(host="0.0.0.0", port=3128), None, "http://127.0.0.1:3128"),
        (TcpBind(host="::", port=3128), None, "http://[::1]:3128"),
        (TcpBind(host="::1", port=3128), None, "http://[::1]:3128"),
        (TcpBind(host="0.0.0.0", port=3128), "proxy.example", "http://proxy.example:3128"),
        (TcpBind(host="127.0.0.1", port=0), "proxy.example:8080", "http://proxy.example:8080"),
        (TcpBind(host="127.0.0.1", port=3128), "[2001:db8::1]:8080", "http://[2001:db8::1]:8080"),
    ],
)
def test_the_address_is_the_listeners_as_applications_see_it(bind, address, url):
    assert evaluated(printed(Runtime.CURL, definitions(bind=bind), address=address))["https_proxy"] == url


@pytest.mark.parametrize("address", ["", ":80", "a b", "host:0", "host:65536", "host:x", "u@host", "host/path", "h;'"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(UsageError, match="is not HOST or HOST:PORT"):
        way(definitions(), address, None, None, ())


@pytest.mark.parametrize(
    ("found", "remedy"),
    [
        (Definitions(), r"listeners: \{forward: \{\}\}"),
        (definitions(bind=UnixBind(path="/run/proxy.sock")), "bind it to HOST:PORT"),
        (definitions(bind=TcpBind(host="127.0.0.1", port=0)), "--address HOST:PORT"),
    ],
)
def test_without_a_listener_that_clients_can_use_the_remedy_is_named(found, remedy):
    with pytest.raises(UsageError, match=remedy):
        way(found, None, None, None, ())


def test_docker_gets_flags_that_a_shell_evaluates(tmp_path):
    text = printed(Runtime.DOCKER, definitions(**intercepting(tmp_path)))
    words = subprocess.run(
        ["sh", "-euc", 'eval "printf \'%s\\n\' $TEXT IMAGE"'],
        env={"PATH": os.environ["PATH"], "TEXT": text}, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip

    assert words[:2] == ["--network", "host"]
    assert words[-1] == "IMAGE"
    assert words[2:-1:2].count("--volume") == 3
    assert f"{tmp_path}/bundle.pem:/etc/iclient-proxy/trust/bundle.pem:ro" in words
    assert "http_proxy=http://127.0.0.1:3128" in words
    assert "SSL_CERT_FILE=/etc/iclient-proxy/trust/bundle.pem" in words
    assert "NODE_OPTIONS=--require=/etc/iclient-proxy/trust/preload.cjs" in words


def test_a_container_reaches_the_machine_by_a_name_that_docker_adds():
    words = printed(Runtime.DOCKER, definitions(), address="host.docker.internal").split()

    assert words[:2] == ["--add-host", "host.docker.internal:host-gateway"]
    assert "http_proxy=http://host.docker.internal:3128" in words


def test_k8s_gets_entries_of_env(tmp_path):
    auth = BasicCredential(username="alice", password=Secret("canary-secret"))
    entries = yaml.safe_load(printed(Runtime.K8S, definitions(proxy_auth=auth, **intercepting(tmp_path))))
    values = {entry["name"]: entry.get("value") for entry in entries}

    assert entries[0]["name"] == "PROXY_PASSWORD"
    assert set(entries[0]["valueFrom"]) == {"secretKeyRef"}
    assert values["HTTPS_PROXY"] == "http://alice:$(PROXY_PASSWORD)@127.0.0.1:3128"
    assert values["NODE_EXTRA_CA_CERTS"] == "/etc/iclient-proxy/trust/bundle.pem"
    assert all(isinstance(value, str) for name, value in values.items() if name != "PROXY_PASSWORD")


def test_where_unclaimed_hosts_are_refused_that_is_said():
    assert "--bypass" in printed(Runtime.CURL, definitions(unclaimed="reject"))
    assert "--bypass" not in printed(Runtime.CURL, definitions())


DEFINITION = """
connections:
  acme:
    base_url: https://api.acme.com
"""


async def test_the_command_prints_what_the_definitions_say(tmp_path):
    (tmp_path / "iclient-proxy.yaml").write_text(DEFINITION + "listeners: {forward: {bind: '127.0.0.1:3199'}}")

    done = await iclient_proxy("env", "--runtime", "curl", "--bypass", "example.org", cwd=tmp_path)

    found = evaluated(done.out)
    assert (done.status, found["http_proxy"]) == (0, "http://127.0.0.1:3199")
    assert "api.acme.com" in done.out
    assert found["no_proxy"].endswith("example.org,.example.org")


async def test_the_command_without_a_forward_listener_prints_nothing_to_evaluate(tmp_path):
    (tmp_path / "iclient-proxy.yaml").write_text(DEFINITION)

    done = await iclient_proxy("env", "--runtime", "curl", cwd=tmp_path)

    assert (done.status, done.out) == (2, "")
    assert "listeners: {forward: {}}" in done.err


async def test_a_runtime_that_is_not_known_is_answered_with_those_that_are(tmp_path):
    done = await iclient_proxy("env", "--runtime", "cobol", cwd=tmp_path)

    assert (done.status, done.out) == (2, "")
    assert [runtime for runtime in Runtime if runtime not in done.err] == []
