from dataclasses import replace

import pytest

from proxy.admin.access import Rules, Visit, refusal_of_post
from proxy.definitions.settings import AdminListener
from proxy.secret import Secret


def code(visit, *, page_token=False, **listener):
    refusal = Rules.of(AdminListener(**listener)).refusal(visit)
    if refusal is None and visit.method == "POST":
        refusal = refusal_of_post(visit, page_token=page_token)
    return refusal[0].code if refusal else "answers"


def visit(method="GET", peer="127.0.0.1", local="127.0.0.1", *, body=False, **fields):
    named = {name.replace("_", "-"): value for name, value in ({"Host": "localhost:7489"} | fields).items()}
    return Visit(method, peer, local, named, body)


@pytest.mark.case("A-347")
@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", ""])
def test_a_peer_on_this_machine_may_come_in(peer):
    assert code(visit(peer=peer)) == "answers"


@pytest.mark.case("A-347")
@pytest.mark.parametrize("peer", ["10.1.2.3", "192.168.0.9", "2001:db8::1", "fe80::1", "::ffff:10.0.0.1", "gone"])
def test_any_other_peer_needs_the_credential(peer):
    auth = Secret("canary-admin-credential")

    assert code(visit(peer=peer)) == "admin_forbidden"
    assert code(visit(peer=peer), auth=auth) == "admin_forbidden"
    assert code(visit(peer=peer, Authorization="Bearer "), auth=auth) == "admin_forbidden"
    assert code(visit(peer=peer, Authorization="Bearer canary-admin-credentiaL"), auth=auth) == "admin_forbidden"
    assert code(visit(peer=peer, Authorization="Basic canary-admin-credential"), auth=auth) == "admin_forbidden"
    assert code(visit(peer=peer, Authorization="Bearer canary-admin-credential")) == "admin_forbidden"
    assert code(visit(peer=peer, Authorization="bearer  canary-admin-credential"), auth=auth) == "answers"


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LOCALHOST:1", "localhost.", "127.0.0.1", "127.0.0.1:7489", "127.0.0.1:1", "admin.example.com",
        "extra.example.com:80",
    ],
)  # fmt: skip
@pytest.mark.case("A-349")
def test_the_listener_answers_for_its_own_names_on_any_port(host):
    settings = {"public_url": "https://Admin.example.com:8443/x", "allowed_hosts": ("Extra.example.com",)}

    assert code(visit(Host=host), **settings) == "answers"


@pytest.mark.case("A-348", "A-349")
@pytest.mark.parametrize(
    "host",
    [
        "attacker.example", "attacker.example:7489", "0.0.0.0:7489", "127.0.0.2", "[::1]:7489",
        "localhost.evil.example", "localhost@evil", "", "2130706433", "127.1", "a b", "localhost:1:1", "löcalhost",
    ],
)  # fmt: skip
def test_another_host_is_misdirected(host):
    assert code(visit(Host=host)) == "misdirected_request"


@pytest.mark.parametrize("host", ["[::1]", "[::1]:7489", "[0:0:0:0:0:0:0:1]"])
def test_an_address_is_compared_as_an_address(host):
    assert code(visit(peer="::1", local="::1", Host=host)) == "answers"


def test_without_host_a_request_is_misdirected():
    assert code(Visit("GET", "127.0.0.1", "127.0.0.1", {})) == "misdirected_request"


@pytest.mark.case("A-350")
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:3000", "http://localhost", ""])
def test_a_foreign_origin_is_refused(origin):
    assert code(visit(Origin=origin)) == "cross_site"


@pytest.mark.case("A-350")
def test_a_request_from_another_site_is_refused():
    assert code(visit(Sec_Fetch_Site="cross-site")) == "cross_site"
    assert code(visit(Sec_Fetch_Site="none")) == "answers"
    assert code(visit(Sec_Fetch_Site="same-origin")) == "answers"


@pytest.mark.parametrize(
    "origin", ["http://localhost:7489", "https://LOCALHOST:7489", "https://admin.example.com:8443"]
)
def test_its_own_origin_may_read(origin):
    assert code(visit(Origin=origin), public_url="https://admin.example.com:8443") == "answers"


@pytest.mark.case("A-345")
@pytest.mark.parametrize(
    "field",
    [
        {"Origin": "http://localhost:7489"}, {"origin": "http://localhost:7489"}, {"Cookie": "a=b"},
        {"Sec_Fetch_Site": "same-origin"}, {"sec_fetch_mode": "navigate"},
    ],
)  # fmt: skip
def test_a_post_of_a_browser_needs_a_page_of_ours(field):
    assert code(visit("POST", **field)) == "cross_site"


@pytest.mark.case("A-352")
@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_post_that_any_page_could_send_is_refused(media):
    assert code(visit("POST", body=True, Content_Type=media)) == "cross_site"


def test_a_post_of_a_program_goes_through():
    assert code(visit("POST")) == "answers"
    assert code(visit("POST", body=True, Content_Type="Application/JSON; charset=utf-8")) == "answers"


@pytest.mark.case("A-345")
def test_a_post_with_the_token_of_the_page_goes_through_unless_it_is_foreign():
    own = {"Origin": "http://localhost:7489", "Sec_Fetch_Site": "same-origin", "Cookie": "a=b"}
    form = "application/x-www-form-urlencoded"

    assert code(visit("POST", body=True, Content_Type=form, **own), page_token=True) == "answers"
    assert code(visit("POST", body=True, Content_Type=form, **own)) == "cross_site"
    for foreign in ("https://evil.example", "null", "http://localhost:3000"):
        assert code(visit("POST", **{**own, "Origin": foreign}), page_token=True) == "cross_site"


NAVIGATION = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}


@pytest.mark.case("A-345", "A-350")
@pytest.mark.parametrize("path", ["/oauth/callback/acme", "/oauth/done/crm", "/oauth/start/crm"])
def test_from_another_site_a_browser_may_arrive_where_an_authorization_passes(path):
    def at(**fields):
        return code(replace(visit(**fields), path=path))

    assert at(**NAVIGATION) == "answers"
    assert at(**NAVIGATION, Origin="null") == "answers"
    assert at(**{**NAVIGATION, "Sec_Fetch_Dest": "iframe"}) == "cross_site"
    assert at(**{**NAVIGATION, "Sec_Fetch_Mode": "no-cors"}) == "cross_site"
    assert at(Sec_Fetch_Site="cross-site") == "cross_site"
    assert at(Origin="https://evil.example") == "cross_site"
    assert at(**NAVIGATION, Host="attacker.example") == "misdirected_request"
    assert code(replace(visit(peer="10.1.2.3", **NAVIGATION), path=path)) == "admin_forbidden"


@pytest.mark.parametrize("path", ["/", "/oauth", "/oauth/callbacks/x", "/api/connections", "//oauth/callback/acme"])
def test_from_another_site_it_arrives_nowhere_else(path):
    assert code(replace(visit(**NAVIGATION), path=path)) == "cross_site"
