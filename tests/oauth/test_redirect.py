import pytest

from proxy.oauth.redirect import callback_name


@pytest.mark.case("A-335")
@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://127.0.0.1:7489/oauth/callback/acme", "acme"),
        ("https://ops.example.com/under/oauth/callback/crm", "crm"),
        ("https://tool.example/landing", "acme"),
        ("https://tool.example/oauth/callback/", "acme"),
        ("", "acme"),
    ],
)
def test_a_callback_goes_by_the_name_in_its_redirect_url(url, name):
    assert callback_name(url, "acme") == name
