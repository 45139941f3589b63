"""The forward listener as it is written, and the fault of two connections that no request could tell apart."""

import ipaddress

import pytest

from proxy.definitions.settings import BasicCredential, Deny, ForwardListener, TcpBind, UnixBind
from proxy.secret import Secret
from tests.definitions.written import ONE, codes, definitions, loaded

AUTH = "proxy_auth: {username: app, password: {env: SECRET}}"
TWO = """
connections:
  a: {base_url: "https://api.acme.com"}
  b: {base_url: "https://api.acme.com%s"%s}
"""


def listener(folder, written):
    return definitions(folder, f"listeners: {{forward: {written}}}\n" + ONE).listeners.forward


def test_there_is_none_unless_it_is_named(folder):
    assert definitions(folder, ONE).listeners.forward is None
    assert listener(folder, "false") is None


def test_named_alone_it_listens_on_loopback_and_lets_everything_through(folder):
    assert listener(folder, "{}") == ForwardListener()
    assert ForwardListener().bind == TcpBind(host="127.0.0.1", port=3128)
    assert (ForwardListener().unclaimed, ForwardListener().claimed_connect) == ("tunnel", "tunnel")


def test_every_key_is_kept(folder):
    found = listener(
        folder,
        "{bind: '0.0.0.0:8080', unclaimed: reject, claimed_connect: reject, deny: [10.0.0.0/8, '*:25'], " + AUTH + "}",
    )

    assert found == ForwardListener(
        bind=TcpBind(host="0.0.0.0", port=8080),
        unclaimed="reject",
        claimed_connect="reject",
        proxy_auth=BasicCredential(username="app", password=Secret("canary-value")),
        deny=(Deny(network=ipaddress.ip_network("10.0.0.0/8")), Deny(port=25)),
    )


def test_it_may_be_a_unix_socket_without_a_credential(folder):
    assert listener(folder, "{bind: 'unix:/run/p.sock'}").bind == UnixBind(path="/run/p.sock")


def test_routes_that_no_reverse_listener_serves_are_fine_beside_a_forward_listener(folder):
    assert loaded(folder, "listeners: {reverse: false, forward: {}}\n" + ONE).warnings == ()


def test_a_connection_without_a_route_needs_no_reverse_listener_beside_it(folder):
    found = definitions(
        folder, "listeners: {forward: {}}\nconnections: {a: {base_url: 'https://api.acme.com', route: false}}\n"
    )

    assert (found.listeners.reverse, found.listeners.forward) == ((), ForwardListener())


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("{bind: '0.0.0.0:3128'}", "listener_open"),
        ("{bind: '[::]:3128'}", "listener_open"),
        ("{bind: '192.0.2.1:3128', proxy_auth: null}", "listener_open"),
        ("{unclaimed: pass}", "unknown_value"),
        ("{claimed_connect: intercept}", "unknown_value"),
        ("{proxy_auth: {username: app}}", "missing_key"),
        ("{proxy_auth: {username: 'a:b', password: {env: SECRET}}}", "invalid_name"),
        ("{proxy_auth: {bearer: {env: SECRET}}}", "unknown_key"),
        ("{bind: '127.0.0.1:7480'}", "duplicate_bind"),
        ("{bind: '127.0.0.1:7489'}", "duplicate_bind"),
        ("{tls: {cert: a, key: b}}", "unknown_key"),
        ("true", "wrong_type"),
        ("[{}]", "wrong_type"),
    ],
)
def test_what_can_not_be_meant_is_a_fault(folder, written, code):
    assert code in codes(folder, f"listeners: {{forward: {written}}}\n" + ONE)


@pytest.mark.parametrize(("path", "more"), [("", ""), ("", ", hosts: [API.acme.com, x.example]"), ("/", "")])
def test_two_that_claim_one_place_can_not_be_told_apart_where_the_user_name_is_the_listeners(folder, path, more):
    text = TWO % (path, more)

    assert codes(folder, f"listeners: {{forward: {{{AUTH}}}}}\n" + text) == ["ambiguous_host"]
    assert loaded(folder, "listeners: {forward: {}}\n" + text).warnings == ()
    assert loaded(folder, text).warnings == ()


@pytest.mark.parametrize(
    ("path", "more"), [("/v2", ""), (":8443", ""), ("", ", hosts: []"), ("", ", hosts: ['*.acme.com']")]
)
def test_two_on_one_host_are_fine_where_path_port_or_claim_tell_them_apart(folder, path, more):
    assert loaded(folder, f"listeners: {{forward: {{{AUTH}}}}}\n" + TWO % (path, more)).warnings == ()


def test_the_fault_names_both_places(folder):
    with pytest.raises(Exception, match=r"a \(.*f\.yaml:4:3\) claims api\.acme\.com, too"):
        definitions(folder, f"listeners: {{forward: {{{AUTH}}}}}\n" + TWO % ("", ""))
