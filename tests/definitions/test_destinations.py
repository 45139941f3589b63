"""What is denied to unclaimed requests, and the proxy on the way out, as operators write them."""

import re
from ipaddress import ip_network

import pytest

from proxy.definitions.destinations import DENY
from proxy.definitions.notation.nodes import Place, Scalar, Sequence
from proxy.definitions.notation.reading import Reading, UnreadableError
from proxy.definitions.settings import Deny, EgressProxy
from proxy.secret import Secret
from tests.definitions.written import ENVIRON, ONE, definitions, loaded, said

PLACE = Place("f.yaml", 1, 1)
GOOD = [
    ("10.0.0.0/8", Deny(network=ip_network("10.0.0.0/8"))),
    ("fd00::/8", Deny(network=ip_network("fd00::/8"))),
    ("192.0.2.7", Deny(network=ip_network("192.0.2.7/32"))),
    ("[::1]", Deny(network=ip_network("::1/128"))),
    ("::1", Deny(network=ip_network("::1/128"))),
    ("Intranet.Example.", Deny(host="intranet.example")),
    ("*.corp.example", Deny(host="*.corp.example")),
    ("*:25", Deny(port=25)),
]
BAD = [
    ("10.0.0.1/8", "invalid_network", "write 10.0.0.0/8"),
    ("10.0.0.0/64", "invalid_network", "a network such as"),
    ("https://a.example/", "invalid_network", "a network such as"),
    ("*:0", "out_of_range", "port 0"),
    ("*:99999", "out_of_range", "port 99999"),
    ("a.example:25", "invalid_host", "write the host alone"),
    ("*.a.example:25", "invalid_host", 'as in "*:25"'),
    ("*", "invalid_host", "a network such as"),
    ("127.1", "ip_host_forbidden", "write a.b.c.d"),
]


def read(text: str) -> tuple[tuple[Deny, ...] | None, list[tuple[str, str]]]:
    reading = Reading({}, {}, 0.0)
    node = Sequence([Scalar(text, False, PLACE, "deny[0]")], PLACE, "deny")
    try:
        found = DENY.read(node, reading)
    except UnreadableError:
        found = None
    return found, [(fault.code, fault.message) for fault in reading.faults]


@pytest.mark.parametrize(("text", "meant"), GOOD)
def test_networks_hosts_and_ports_can_be_denied(text, meant):
    assert read(text) == ((meant,), [])


@pytest.mark.parametrize(("text", "code", "words"), BAD)
def test_what_denies_nothing_is_a_fault_that_says_what_to_write(text, code, words):
    _, faults = read(text)

    assert [found for found, _ in faults] == [code]
    assert words in faults[0][1]


@pytest.mark.parametrize(("text", "_"), GOOD)
def test_the_schema_knows_every_form(text, _):
    assert re.search(DENY.schema()["items"]["pattern"], text)


PROXIES = [
    ("http://proxy.example:3128", EgressProxy(host="proxy.example", port=3128)),
    ("HTTP://Proxy.Example./", EgressProxy(host="proxy.example", port=80)),
    ('"http://[2001:db8::7]:8080"', EgressProxy(host="2001:db8::7", port=8080)),
    ("{env: BARE}", EgressProxy(host="proxy.example", port=3128)),
    ("{env: FULL}", EgressProxy(host="10.0.0.7", port=3128, credential=Secret("user:canary@:/"))),
]
NO_PROXIES = [
    ("https://proxy.example:3128", "invalid_url", "in plain HTTP"),
    ("socks5://proxy.example:1080", "invalid_url", "in plain HTTP"),
    ("proxy.example:3128", "invalid_url", "in plain HTTP"),
    ("http://proxy.example:3128/path", "invalid_url", "without a path"),
    ("http://proxy.example:99999", "invalid_url", "1 to 65535"),
    ("http://127.1:3128", "ip_host_forbidden", "write a.b.c.d"),
    ("http://169.254.169.254:80", "metadata_address", "no proxy"),
    ("http://user:canary@proxy.example:3128", "inline_secret", "allow_inline_secrets"),
    ("{env: NOBODY}", "secret_env_missing", "'NOBODY'"),
    ("{env: NAMELESS}", "invalid_url", "a user name and a password"),
    ("{env: ODD}", "invalid_url", "a user name and a password"),
    ("[]", "wrong_type", "found a list"),
]
VARIABLES = {
    **ENVIRON,
    "BARE": "http://proxy.example:3128",
    "FULL": "http://user:canary%40%3A%2F@10.0.0.7:3128",
    "NAMELESS": "http://canary@proxy.example:3128",
    "ODD": "http://user:canary%0d%0aX@proxy.example:3128",
}


@pytest.mark.parametrize(("written", "meant"), PROXIES)
def test_the_proxy_on_the_way_out_is_a_plain_http_url(folder, written, meant):
    found = definitions(folder, f"egress_proxy: {written}\n{ONE}", VARIABLES)

    assert found.egress_proxy == meant


@pytest.mark.parametrize(("written", "code", "words"), NO_PROXIES)
def test_what_is_no_such_proxy_is_a_fault_that_quotes_no_credential(folder, written, code, words):
    (line,) = said(folder, f"egress_proxy: {written}\n{ONE}", VARIABLES)

    assert line.startswith(f"{code} f.yaml:1:")
    assert words in line
    assert "canary" not in line


def test_the_credential_of_the_proxy_may_stand_in_the_file_where_secrets_may(folder):
    text = f"allow_inline_secrets: true\negress_proxy: http://user:canary@proxy.example\n{ONE}"
    found = loaded(folder, text)

    meant = EgressProxy(host="proxy.example", port=80, credential=Secret("user:canary"))
    assert found.definitions.egress_proxy == meant
    assert [warning.code for warning in found.warnings] == ["inline_secret"]
