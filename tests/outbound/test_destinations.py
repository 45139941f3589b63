"""Where streams may go: names, addresses, and what an address carries inside."""

import ipaddress

import pytest

from proxy.definitions.settings import Deny
from proxy.outbound.destinations import Destinations
from proxy.outbound.direct import is_local

OURS = frozenset({("127.0.0.1", 3128), ("0.0.0.0", 7480), ("::", 7489)})


def verdict(destinations: Destinations, address: str, port: int = 443, *, claimed: bool = False) -> str | None:
    refusal = destinations.check(address, port, claimed=claimed)
    return None if refusal is None else refusal.problem.code


def denied(*entries: str) -> Destinations:
    return Destinations(tuple(Deny(network=ipaddress.ip_network(entry)) for entry in entries))


NEVER = [
    "169.254.169.254",
    "169.254.7.7",
    "fe80::1",
    "224.0.0.1",
    "ff02::1",
    "255.255.255.255",
    "0.0.0.0",
    "0.1.2.3",
    "::",
]


@pytest.mark.case("F-245")
@pytest.mark.parametrize("address", NEVER)
def test_no_unclaimed_stream_goes_to_an_address_that_is_nobodys_server(address):
    assert verdict(Destinations(), address) == "destination_prohibited"


METADATA = [
    "169.254.169.254", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "168.63.129.16", "100.100.100.200",
    "192.0.0.192",
]  # fmt: skip


@pytest.mark.case("F-247")
@pytest.mark.parametrize("claimed", [True, False])
@pytest.mark.parametrize("address", METADATA)
def test_nobody_reaches_a_metadata_service_not_even_by_a_claimed_host(address, claimed):
    assert verdict(Destinations(), address, 80, claimed=claimed) == "destination_prohibited"


@pytest.mark.case("F-247")
@pytest.mark.parametrize("claimed", [True, False])
@pytest.mark.parametrize("name", ["metadata.google.internal", "METADATA.google.internal.", "169.254.169.254"])
def test_a_metadata_service_is_refused_by_its_name_before_any_lookup(name, claimed):
    refusal = Destinations().named(name, 80, claimed=claimed)

    assert refusal is not None
    assert refusal.problem.code == "destination_prohibited"


@pytest.mark.case("F-247")
def test_the_clusters_own_api_server_is_for_those_that_claim_it():
    destinations = Destinations(api_server="10.96.0.1")

    assert verdict(destinations, "10.96.0.1") == "destination_prohibited"
    assert verdict(destinations, "::ffff:10.96.0.1") == "destination_prohibited"
    assert verdict(destinations, "10.96.0.1", claimed=True) is None
    assert verdict(destinations, "10.96.0.2") is None


CARRIERS = [
    "::ffff:169.254.169.254",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::169.254.169.254",
    "::ffff:0:169.254.169.254",
    "::169.254.169.254",
    "2002:a9fe:a9fe::1",
    # RFC 4380 §4: the client's address is the last 32 bits, each bit turned.
    "2001:0:4136:e378:8000:63bf:5601:5601",
    # … and the server's are the second 32 bits.
    "2001:0:a9fe:a9fe:8000:63bf:3fff:fdd2",
]


@pytest.mark.case("F-248")
@pytest.mark.parametrize("claimed", [True, False])
@pytest.mark.parametrize("address", CARRIERS)
def test_an_ipv6_address_that_carries_a_denied_one_is_denied(address, claimed):
    assert verdict(Destinations(), address, claimed=claimed) == "destination_prohibited"


@pytest.mark.case("F-248")
@pytest.mark.parametrize("address", ["::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "2002:a01:203::1"])
def test_what_deny_lists_is_denied_inside_an_ipv6_address_too(address):
    assert verdict(denied("10.0.0.0/8"), address) == "destination_prohibited"
    assert verdict(denied("10.9.0.0/16"), address) is None


INTERNAL = ["127.0.0.1", "::1", "10.0.0.7", "172.16.3.4", "192.168.1.1", "100.64.0.9", "fd12::1"]


@pytest.mark.case("F-246")
@pytest.mark.parametrize("address", [*INTERNAL, "93.184.216.34", "2606:2800:220:1::1"])
def test_internal_hosts_are_reached_unless_deny_lists_them(address):
    everything = denied("0.0.0.0/0", "::/0")

    assert verdict(Destinations(), address) is None
    assert verdict(everything, address) == "destination_prohibited"
    assert verdict(everything, address, claimed=True) is None


@pytest.mark.case("F-246")
def test_deny_lists_a_host_by_its_name_and_what_is_below_one():
    destinations = Destinations((Deny(host="intranet.example"), Deny(host="*.corp.example")))

    def named(host: str) -> bool:
        return destinations.named(host, 443, claimed=False) is not None

    assert named("intranet.example")
    assert named("INTRANET.example.")
    assert not named("www.intranet.example")
    assert named("a.b.corp.example")
    assert not named("corp.example")
    assert not named("notcorp.example")
    assert destinations.named("intranet.example", 443, claimed=True) is None


@pytest.mark.case("F-252")
def test_deny_lists_a_port_of_all_hosts():
    destinations = Destinations((Deny(port=25),))

    assert destinations.named("mail.example", 25, claimed=False) is not None
    assert verdict(destinations, "10.0.0.7", 25) == "destination_prohibited"
    assert destinations.named("mail.example", 587, claimed=False) is None
    assert verdict(destinations, "10.0.0.7", 22) is None


@pytest.mark.case("F-245", "F-257")
@pytest.mark.parametrize(
    ("address", "port"),
    [
        ("127.0.0.1", 3128),
        ("127.9.9.9", 3128),
        ("::ffff:127.0.0.1", 3128),
        ("::1", 7489),
        ("::1", 3128),
        ("10.1.1.1", 7480),
        ("10.1.1.1", 7489),
    ],
)
def test_an_address_of_this_machine_with_a_port_of_ours_is_a_loop(address, port):
    destinations = Destinations(own=OURS, is_local=lambda address: address == "10.1.1.1")

    assert verdict(destinations, address, port) == "proxy_loop_detected"


@pytest.mark.case("F-257")
def test_other_ports_of_this_machine_and_our_ports_elsewhere_are_no_loop():
    destinations = Destinations(own=OURS, is_local=lambda address: address == "10.1.1.1")

    assert verdict(destinations, "10.1.1.1", 8080) is None
    assert verdict(destinations, "127.0.0.1", 8080) is None
    assert verdict(destinations, "10.1.1.2", 3128) is None


def test_an_address_of_this_machine_is_known_by_the_machine():
    assert is_local("127.0.0.1")
    assert not is_local("192.0.2.1")
    assert not is_local("2001:db8::1")


@pytest.mark.parametrize("spelling", ["2130706433", "0x7f.1", "127.1", "0177.0.0.1", "a b", "", "-x"])
def test_what_a_resolver_would_read_as_an_address_is_not_looked_up(spelling):
    refusal = Destinations().named(spelling, 80, claimed=False)

    assert refusal is not None
    assert refusal.problem.code == "bad_request"


def test_an_address_that_we_listen_on_leads_back_with_our_port_alone():
    own = Destinations(own=frozenset({("10.1.1.1", 8080), ("2001:db8::1", 8081)}))

    assert verdict(own, "10.1.1.1", 8080) == "proxy_loop_detected"
    assert verdict(own, "10.1.1.2", 8080) is None
    assert verdict(own, "10.1.1.1", 8082) is None
    assert own.is_own("2001:db8::1%eth0", 8081)
    assert verdict(own, "2001:db8::1%eth0", 8081) == "proxy_loop_detected"
    assert not own.is_own("2001:db8::1", 8080)
    assert not own.is_own("no address", 8080)


def test_a_list_of_networks_says_nothing_of_names():
    destinations = Destinations((Deny(network=ipaddress.ip_network("10.0.0.0/8")), Deny(host="a.example")))

    assert destinations.named("b.example", 443, claimed=False) is None
    assert destinations.named("a.example", 443, claimed=False) is not None
    assert destinations.named("a.example", 443, claimed=True) is None


@pytest.mark.parametrize("host", ["10.0.0.1", "2001:db8::1", "[2001:db8::1]", "example.com"])
def test_a_host_in_every_spelling_of_an_authority_is_judged(host):
    assert Destinations().named(host, 443, claimed=False) is None
    if host != "example.com":
        assert Destinations().check(host, 443, claimed=False) is None
    denied_too = denied("10.0.0.0/8", "2001:db8::/32")
    assert (denied_too.named(host, 443, claimed=False) is None) == (host == "example.com")


@pytest.mark.parametrize("text", ["", "example.com", "[", "10.0.0.1]]", "10.0.0"])
def test_what_is_no_address_is_not_dialled(text):
    assert verdict(Destinations(), text) == "destination_prohibited"
