import pytest

from proxy.definitions.settings import AdminListener
from proxy.definitions.templates.placeholders import RenderError, compile_template
from proxy.oauth.redirect import admin_base, callback_name, redirect_url
from tests.oauth.answers import connection, iclient


@pytest.mark.case("A-335")
@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://127.0.0.1:7489/oauth/callback/acme", "acme"),
        ("https://ops.example.com/under/oauth/callback/crm", "crm"),
        ("https://tool.example/landing", "acme"),
        ("https://tool.example/oauth/callback/", "acme"),
        ("https://tool.example/oauth/callback/x/oauth/callback/y", "x/oauth/callback/y"),
        ("", "acme"),
    ],
)
def test_a_callback_goes_by_the_name_in_its_redirect_url(url, name):
    assert callback_name(url, "acme") == name


def test_without_one_written_the_redirect_url_is_the_admin_listeners_and_names_the_iclient():
    client = iclient()

    assert redirect_url(client, connection(client), "http://127.0.0.1:7489") == (
        "http://127.0.0.1:7489/oauth/callback/acme"
    )
    assert redirect_url(client, connection(client), None) is None


def test_a_redirect_url_that_is_written_is_rendered_for_its_connection():
    text = "https://{{{connection.settings.tenant}}}.example.com/{{{iclient.name}}}/{{{connection.name}}}"
    client = iclient(redirect_url=compile_template(text))

    one = redirect_url(client, connection(client, settings=(("tenant", "t1"),)), "http://127.0.0.1:7489")

    assert one == "https://t1.example.com/acme/crm"
    with pytest.raises(RenderError):
        redirect_url(client, connection(client), None)


@pytest.mark.parametrize(
    ("listener", "port", "base"),
    [
        (AdminListener(), 7489, "http://127.0.0.1:7489"),
        (AdminListener(), None, None),
        (AdminListener(public_url="https://ops.example.com/under/"), 7489, "https://ops.example.com/under"),
        (AdminListener(public_url="https://ops.example.com/X"), 7489, "https://ops.example.com/X"),
        (AdminListener(public_url="https://ops.example.com"), None, "https://ops.example.com"),
        (None, 7489, None),
    ],
)
def test_a_browser_finds_the_admin_listener_where_it_says_or_on_its_port(listener, port, base):
    assert admin_base(listener, port) == base
