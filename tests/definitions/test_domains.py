"""OAuth URLs and valid domains: one strict parser, compared at label boundaries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.definitions.domains import DomainError, OAuthUrl, check_url, entry_for, is_loopback, parse_url
from tests.definitions.written import definitions, with_connection, with_iclient

case = pytest.mark.case


def refusal(url, valid_domains=("domain.com",), allow_insecure=False, **more):
    with pytest.raises(DomainError) as refused:
        check_url(url, valid_domains, allow_insecure, **more)
    return refused.value.code


def test_a_url_is_taken_apart_once():
    assert parse_url("https://Auth.Domain.com:8443/a/b?c=d") == OAuthUrl("https", "auth.domain.com", 8443, "/a/b?c=d")
    assert parse_url("https://domain.com?a") == OAuthUrl("https", "domain.com", 443, "/?a")
    assert parse_url("HTTP://[2001:DB8::1]") == OAuthUrl("http", "2001:db8::1", 80, "/")


@case("C-27")
@pytest.mark.parametrize("host", ["domain.com", "login.domain.com", "a.b.DOMAIN.com", "domain.com."])
def test_an_entry_covers_itself_and_what_lies_below_it(host):
    assert check_url(f"https://{host}/t", ["domain.com"]).port == 443


@case("C-27")
@pytest.mark.parametrize(
    "host", ["notdomain.com", "domain.com.evil.com", "domain.com-evil.com", "com", "evil.com", "omain.com"]
)
def test_an_entry_covers_nothing_beside_it(host):
    assert refusal(f"https://{host}/") == "url_outside_valid_domains"


@case("C-32")
def test_case_and_a_trailing_dot_make_no_difference():
    dotted = check_url("https://DOMAIN.COM./token", ["domain.com"])

    assert dotted == check_url("https://domain.com/token", ["Domain.com."])
    assert str(dotted) == "https://domain.com/token"
    assert dotted.authority == "domain.com"


@case("C-32")
def test_both_spellings_give_the_same_definitions(folder):
    one = definitions(folder, with_iclient("valid_domains: ACME.com."))
    other = definitions(folder, with_iclient("valid_domains: ACME.com.").replace("auth.acme.com", "AUTH.Acme.COM."))

    assert one == other


@case("C-34")
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "10.1.2.3", "8.8.8.8"])
def test_an_address_is_accepted_only_as_itself_with_its_port(host):
    assert refusal(f"https://{host}:8443/", ["domain.com"]) == "ip_host_forbidden"
    assert refusal(f"https://{host}:8444/", [f"{host}:8443"]) == "ip_host_forbidden"
    assert str(check_url(f"https://{host}:8443/", [f"{host}:8443"])) == f"https://{host}:8443/"


@case("C-34")
@pytest.mark.parametrize(
    "host",
    ["2130706433", "0x7f.1", "127.1", "017700000001", "0", "0177.0.0.1", "127.0.0.1.", "0x7F000001", "1.2.3.4.5"],
)
def test_an_address_in_disguise_is_never_accepted(host):
    code = refusal(f"https://{host}/", ["domain.com"])

    assert code == "ip_host_forbidden"


@case("C-35")
def test_http_goes_to_exactly_the_listed_hosts_and_ports_and_only_when_allowed():
    listed = ["auth.domain.com:80", "localhost:8080"]

    assert check_url("http://auth.domain.com/t", listed, True).port == 80
    assert check_url("http://localhost:8080/t", listed, True).port == 8080
    assert refusal("http://auth.domain.com/t", listed) == "insecure_url"
    assert refusal("http://www.auth.domain.com/t", listed, True) == "insecure_url"
    assert refusal("http://auth.domain.com:8080/t", listed, True) == "insecure_url"
    assert refusal("http://domain.com/t", ["domain.com"], True) == "insecure_url"


@case("C-36")
def test_another_port_needs_to_be_listed_and_the_message_says_how():
    with pytest.raises(DomainError, match=r"write login\.domain\.com:8443 in valid_domains"):
        check_url("https://login.domain.com:8443/", ["domain.com"])

    assert check_url("https://login.domain.com:8443/", ["domain.com:8443"]).port == 8443
    assert refusal("https://login.domain.com/", ["domain.com:8443"]) == "port_not_allowed"


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "metadata.google.internal", "100.100.100.200"])
def test_metadata_and_link_local_addresses_are_refused_always(host):
    assert refusal(f"https://{host}/", [f"{host}:443"]) == "metadata_address"


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "192.168.1.1", "[::1]", "[fd00::1]"])
def test_a_private_address_is_refused_only_when_it_came_from_a_placeholder(host):
    assert check_url(f"https://{host}/", [f"{host}:443"]).port == 443
    assert refusal(f"https://{host}/", [f"{host}:443"], host_from_placeholder=True) == "ip_host_forbidden"


@pytest.mark.parametrize("host", ["localhost", "a.localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_loopback_is_known_by_its_spelling(host):
    assert is_loopback(host)
    assert not is_loopback("localhost.evil.com")
    assert not is_loopback("0.0.0.0")


@pytest.mark.parametrize(
    "url",
    [
        "https://auth.domain.com/t",
        "https://auth.domain.com:8443/",
        "https://localhost/",
        "https://[::1]/",
        "https://8.8.8.8/",
    ],
)
def test_the_default_covers_its_own_url(url):
    assert check_url(url, [entry_for(parse_url(url))]) == parse_url(url)


def test_without_valid_domains_they_are_those_of_the_urls(folder):
    assert definitions(folder, with_connection("")).connections[0].iclient.valid_domains == ("auth.acme.com",)


PIECES = st.sampled_from(
    [
        "https://",
        "http://",
        "//",
        "domain.com",
        "evil.com",
        "@",
        ":",
        "#",
        "?",
        "/",
        "\\",
        ".",
        "[",
        "]",
        "%2e",
        "443",
        "127.1",
        "。",
        " ",
        "\r\n",
        "\0",
        "\u217e",
    ]
)


@case("C-26", "C-27", "C-28", "C-29", "C-30", "C-31", "C-33")
@given(st.lists(PIECES, max_size=8).map("".join))
def test_whatever_is_accepted_goes_to_a_listed_host(text):
    try:
        url = check_url(text, ["domain.com"])
    except DomainError:
        return
    assert url.host == "domain.com" or url.host.endswith(".domain.com")
    assert (url.scheme, url.port) == ("https", 443)
    assert "@" not in text.split("//", 1)[1].split("/")[0].split("?")[0]
    assert parse_url(str(url)) == url


@given(st.text(max_size=60))
def test_any_text_is_a_url_or_a_typed_refusal(text):
    try:
        host = parse_url(text).host
    except DomainError:
        host = "refused"
    assert host.isascii()
