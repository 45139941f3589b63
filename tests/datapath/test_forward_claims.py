"""Whose a request of the forward listener is: hosts, suffixes, ports, paths and user names, without any socket."""

from __future__ import annotations

import pytest

from proxy.definitions.models import Connection
from proxy.definitions.templates.urls import compile_url
from proxy.errors import Refusal
from proxy.exchange.aim import Origin
from proxy.exchange.claims import NOBODY, Claim, HostTable, OriginPlans, prefix_of


class Pools:
    """Remembers whether it was retired."""

    def __init__(self, origin):
        self.origin = origin
        self.retired = False

    def retire(self):
        self.retired = True

    async def close(self):
        self.retired = True


class Maker:
    """Makes plans: a plan is a name here."""

    def __init__(self, name):
        self.name = name
        self.made = []

    def __call__(self, origin):
        self.made.append(Pools(origin))
        return f"{self.name} at {prefix_of(origin).decode()}", self.made[-1]


def table(**connections):
    """Return a table of connections, each written as `(base_url, *hosts)`."""
    return HostTable(
        Claim(Connection(name=name, base_url=base, hosts=hosts), OriginPlans(Maker(name)))
        for name, (base, *hosts) in connections.items()
    )


def found(table, url, user=b""):
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    host, _, port = host.partition(":")
    return table.find(scheme, host, int(port or {"http": 80, "https": 443}[scheme]), (slash + path).encode(), user)


CLAIMS = {
    "exact": ("https://api.acme.example", "api.acme.example"),
    "wide": ("https://x.acme.example", "*.acme.example"),
    "wider": ("https://x.example", "*.example"),
    "deep": ("https://api.acme.example/v1/deep", "api.acme.example"),
    "odd": ("https://odd.example:8443", "odd.example"),
    "plain": ("http://plain.example:8080/base/", "plain.example"),
    "v6": ("https://[2001:db8::1]", "2001:db8::1"),
    "none": ("https://none.elsewhere",),
}


@pytest.mark.parametrize(
    ("url", "plan"),
    [
        ("http://api.acme.example/x", "exact at https://api.acme.example"),
        ("https://api.acme.example/x", "exact at https://api.acme.example"),
        ("http://api.acme.example:443/x", "exact at https://api.acme.example"),
        ("http://api.acme.example:8080/x", None),
        ("https://api.acme.example:80/x", None),
        ("http://api.acme.example/v1/deep", "deep at https://api.acme.example"),
        ("http://api.acme.example/v1/deep?x", "deep at https://api.acme.example"),
        ("http://api.acme.example/v1/deeper", "exact at https://api.acme.example"),
        ("http://other.acme.example/x", "wide at https://other.acme.example"),
        ("http://a.b.acme.example/x", "wide at https://a.b.acme.example"),
        ("http://acme.example/x", "wider at https://acme.example"),
        ("http://notacme.example/x", "wider at https://notacme.example"),
        ("http://example/x", None),
        ("http://acme.example.evil/x", None),
        ("http://odd.example/x", "odd at https://odd.example:8443"),
        ("https://odd.example:8443/x", "odd at https://odd.example:8443"),
        ("http://odd.example:443/x", "wider at https://odd.example"),
        ("http://plain.example:8080/base/x", "plain at http://plain.example:8080"),
        ("http://plain.example:8080/other", None),
        ("http://none.elsewhere/x", None),
        ("http://metadata.google.internal/", None),
    ],
)
def test_whose_a_request_is(url, plan):
    assert found(table(**CLAIMS), url) == plan


def test_an_address_of_six_bytes_groups_is_written_in_brackets():
    assert table(**CLAIMS).find("http", "2001:db8::1", 80, b"/", b"") == "v6 at https://[2001:db8::1]"


def test_a_token_never_goes_to_a_metadata_service_whatever_a_suffix_says():
    every = table(all=("https://x.internal", "*.internal", "*.google.internal"))

    assert found(every, "http://metadata.google.internal/") is None
    assert found(every, "http://api.google.internal/") == "all at https://api.google.internal"


@pytest.mark.parametrize(
    ("host", "port", "claimed"),
    [
        ("api.acme.example", 443, True),
        ("api.acme.example", 80, False),
        ("odd.example", 443, True),
        ("odd.example", 8443, True),
        ("plain.example", 8080, True),
        ("example.com", 443, False),
    ],
)
def test_a_connect_is_to_a_claimed_host_on_the_port_of_https_or_of_base_url(host, port, claimed):
    assert (table(**CLAIMS).at("https", host, port) is not NOBODY) is claimed


TENANTS = {
    "crm": ("https://api.acme.example", "api.acme.example"),
    "erp": ("https://api.acme.example", "api.acme.example"),
    "sub": ("https://api.acme.example/sub", "api.acme.example"),
    "all": ("https://x.acme.example", "*.acme.example"),
}


@pytest.mark.parametrize("user", [b"crm", b"erp", b"all"])
@pytest.mark.parametrize("path", ["/x", "/sub/x"])
def test_a_user_name_chooses_among_those_who_claim_the_url(user, path):
    assert found(table(**TENANTS), f"http://api.acme.example{path}", user).startswith(user.decode())


def test_a_user_name_that_does_not_claim_the_url_says_nothing():
    assert found(table(**TENANTS), "http://api.acme.example/sub/x", b"nobody") == "sub at https://api.acme.example"
    assert found(table(**TENANTS), "http://other.acme.example/x", b"crm") == "all at https://other.acme.example"


@pytest.mark.parametrize("user", [b"", b"nobody", b"sub"])
def test_two_that_claim_one_url_are_asked_about(user):
    with pytest.raises(Refusal) as refused:
        found(table(**TENANTS), "http://api.acme.example/x", user)

    assert refused.value.problem.code == "proxy_auth_required"


@pytest.mark.parametrize(("user", "asks"), [(b"", True), (b"nobody", True), (b"crm", False), (b"sub", False)])
def test_a_connect_asks_for_the_user_name_that_the_requests_inside_can_not_be_asked_for(user, asks):
    assert table(**TENANTS).at("https", "api.acme.example", 443).may_ask(user) is asks


def test_a_connect_asks_for_nothing_where_paths_tell_connections_apart():
    claims = table(a=("https://a.example/v1", "a.example"), b=("https://a.example/v2", "a.example"))

    assert not claims.at("https", "a.example", 443).may_ask(b"")


def test_on_the_default_port_the_usual_port_comes_before_odd_ones():
    claims = table(odd=("https://a.example:8443", "a.example"), usual=("https://a.example", "a.example"))

    assert found(claims, "http://a.example/") == "usual at https://a.example"
    assert found(claims, "https://a.example:8443/") == "odd at https://a.example:8443"


def test_of_a_base_url_that_comes_with_the_token_only_what_is_known_counts():
    origin = compile_url("{{{connection.token.fields.instance_url}}}/services")
    path = compile_url("https://api.example:8443/{{{connection.token.fields.tenant}}}/v1")
    claims = table(origin=(origin, "*.force.example"), path=(path, "api.example"))

    assert found(claims, "http://my.force.example/services/x") == "origin at https://my.force.example"
    assert found(claims, "http://my.force.example/other") is None
    assert found(claims, "https://api.example:8443/any") == "path at https://api.example:8443"


def origin(number):
    return Origin("http", f"h{number}.example", 80)


def test_the_plans_of_a_domain_are_bounded_and_the_one_that_rested_longest_goes_first():
    maker = Maker("a")
    plans = OriginPlans(maker, most=3)
    for number in (0, 1, 2, 0, 3):
        plans.at(origin(number))

    assert [pools.origin.host for pools in maker.made if pools.retired] == ["h1.example"]
    plans.at(origin(0))
    plans.at(origin(2))
    assert len(maker.made) == 4
    plans.at(origin(1))
    assert [pools.origin.host for pools in maker.made if pools.retired] == ["h1.example", "h3.example"]


def test_a_retired_connection_goes_on_serving_on_streams_that_end_with_their_response():
    maker = Maker("a")
    plans = OriginPlans(maker)
    plans.at(origin(0))
    plans.retire()
    plans.at(origin(1))

    assert [pools.retired for pools in maker.made] == [True, True]


def test_plans_that_were_given_up_are_made_anew():
    maker = Maker("a")
    plans = OriginPlans(maker)
    plans.at(origin(0))
    plans.forget()
    plans.at(origin(0))

    assert [pools.retired for pools in maker.made] == [True, False]
