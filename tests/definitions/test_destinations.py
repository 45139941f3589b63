"""What is denied to unclaimed requests, as operators write it."""

import re
from ipaddress import ip_network

import pytest

from proxy.definitions.destinations import DENY
from proxy.definitions.notation.nodes import Place, Scalar, Sequence
from proxy.definitions.notation.reading import Reading, UnreadableError
from proxy.definitions.settings import Deny

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
