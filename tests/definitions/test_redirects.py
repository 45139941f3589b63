"""Redirect URLs that two iClients would share, and what the redirect URL of an iClient is."""

from types import SimpleNamespace

import pytest

from proxy.definitions.redirects import check_redirects, redirect_text
from proxy.definitions.settings import AdminListener, UnixBind
from proxy.definitions.templates.placeholders import compile_template
from tests.oauth.answers import iclient


class Reading:
    """Takes down the faults."""

    def __init__(self):
        self.found = []

    def fault(self, node, code, message):
        self.found.append((node.path, code, message))


def registered(name, url=None, grant="authorization_code"):
    client = iclient(name=name, grant_type=grant, redirect_url=None if url is None else compile_template(url))
    return SimpleNamespace(iclient=client, node=SimpleNamespace(path=f"iclients.{name}"))


def faults(*registrations, admin=None):
    reading = Reading()
    check_redirects(registrations, admin or AdminListener(), reading)
    return reading.found


def test_whoever_comes_second_to_a_redirect_url_is_told_who_was_first():
    [(path, code, message)] = faults(
        registered("none", "https://a", grant="client_credentials"),
        registered("one", "https://a"),
        registered("other", "https://b"),
        registered("two", "https://a"),
    )

    assert (path, code) == ("iclients.two", "duplicate_redirect_url")
    assert message.startswith("iclients.one ")


def test_other_grants_have_no_redirect_url_to_share():
    one, two = registered("one", "https://a", grant="device_code"), registered("two", "https://a")

    assert faults(one, two) == []


def test_the_default_is_one_for_each_iclient_but_may_be_written_by_another():
    assert faults(registered("one"), registered("two")) == []
    written = registered("two", "http://127.0.0.1:7489/oauth/callback/one")
    assert [path for path, _, _ in faults(registered("one"), written)] == ["iclients.two"]


@pytest.mark.parametrize(
    ("admin", "text"),
    [
        (AdminListener(), "http://127.0.0.1:7489/oauth/callback/acme"),
        (AdminListener(public_url="https://ops.example.com/"), "https://ops.example.com/oauth/callback/acme"),
        (AdminListener(public_url="https://ops.example.com/x"), "https://ops.example.com/x/oauth/callback/acme"),
        (AdminListener(bind=UnixBind(path="/run/admin.sock")), "http://127.0.0.1:0/oauth/callback/acme"),
        (None, "http://127.0.0.1:0/oauth/callback/acme"),
    ],
)
def test_without_one_written_it_is_the_admin_listeners(admin, text):
    assert redirect_text(iclient(), admin) == text
    assert redirect_text(iclient(redirect_url=compile_template("https://{{{iclient.name}}}")), admin) == (
        "https://{{{iclient.name}}}"
    )
