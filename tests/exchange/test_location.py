import pytest

from proxy.exchange.location import LocationMap

ROUTE = LocationMap("https", "api.example.com", 443, "/v2", "/crm", strip=True)
WHOLE = LocationMap("https", "api.example.com", 443, "", "/crm", strip=True)
UNSTRIPPED = LocationMap("https", "api.example.com", 443, "", "/crm", strip=False)
ROOT = LocationMap("https", "api.example.com", 443, "", "", strip=True)
TARGET = b"/v2/orders/7?x=1"


def seen(location, value, target=TARGET):
    return location.rewrite(value, target)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"https://api.example.com/v2/orders/8", b"/crm/orders/8"),
        (b"HTTPS://API.Example.COM/v2/orders/8", b"/crm/orders/8"),
        (b"https://api.example.com:443/v2/orders/8", b"/crm/orders/8"),
        (b"//api.example.com/v2/orders/8", b"/crm/orders/8"),
        (b"/v2/orders/8", b"/crm/orders/8"),
        (b"8", b"/crm/orders/8"),
        (b"../invoices/1", b"/crm/invoices/1"),
        (b"?page=2", b"/crm/orders/7?page=2"),
        (b"/v2/orders/8?a=b&c#d", b"/crm/orders/8?a=b&c#d"),
        (b"#part", b"/crm/orders/7?x=1#part"),
        (b"/v2", b"/crm"),
        (b"/v2/", b"/crm/"),
        (b"/v2/%2e%2e", b"/crm/%2e%2e"),
    ],
)
def test_what_lies_under_the_base_becomes_a_path_of_the_route(value, expected):
    assert seen(ROUTE, value) == expected


@pytest.mark.parametrize(
    "value",
    [
        b"https://other.example.com/v2/orders/8",
        b"https://api.example.com.evil.example/v2/x",
        b"http://api.example.com/v2/orders/8",
        b"https://api.example.com:8443/v2/orders/8",
        b"https://user@api.example.com/v2/orders/8",
        b"https://user:pw@api.example.com/v2/orders/8",
        b"/v1/orders/8",
        b"/v22/orders",
        b"/",
        b"../../v1",
        b"https://api.example.com",
        b"https://api.example.com:x/v2/",
        b"https://api.example.com:99999/v2/",
        b"https://[::1/v2/",
        b"/v2/caf\xc3\xa9",
        b"mailto:a@b",
        b"javascript:alert(1)",
    ],
)
def test_anything_else_is_seen_as_it_came(value):
    assert seen(ROUTE, value) == value


def test_what_would_be_read_as_another_host_is_seen_as_it_came():
    assert seen(ROOT, b"https://api.example.com//evil.example/x") == b"https://api.example.com//evil.example/x"
    assert seen(ROUTE, b"/v2//evil.example") == b"/crm//evil.example"


def test_without_a_base_path_the_whole_origin_lies_under_the_route():
    assert seen(WHOLE, b"/") == b"/crm/"
    assert seen(WHOLE, b"https://api.example.com") == b"/crm/"
    assert seen(WHOLE, b"/a") == b"/crm/a"
    assert seen(ROOT, b"/a?b") == b"/a?b"
    assert seen(ROOT, b"https://api.example.com/") == b"/"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"https://api.example.com/crm", b"/crm"),
        (b"https://api.example.com/crm/a?b", b"/crm/a?b"),
        (b"https://api.example.com/crmx", b"https://api.example.com/crmx"),
        (b"https://api.example.com/other", b"https://api.example.com/other"),
        (b"https://api.example.com/", b"https://api.example.com/"),
    ],
)
def test_where_the_prefix_is_not_stripped_the_upstream_knows_it_too(value, expected):
    assert seen(UNSTRIPPED, value, b"/crm/x") == expected


def test_where_prefix_and_base_are_the_same_the_root_stays_a_path():
    location = LocationMap("https", "api.example.com", 443, "/v2", "", strip=True)

    assert seen(location, b"/v2") == b"/"
    assert seen(location, b"/v2/") == b"/"


@pytest.mark.parametrize(
    ("scheme", "host", "port", "absolute"),
    [
        ("http", "api.example.com", 80, b"http://api.example.com/x"),
        ("http", "api.example.com", 8080, b"http://api.example.com:8080/x"),
        ("https", "::1", 8443, b"https://[::1]:8443/x"),
        ("https", "::1", 443, b"https://[::1]/x"),
        ("https", "api.example.com", 80, b"https://api.example.com:80/x"),
    ],
)
def test_the_origin_has_scheme_host_and_port(scheme, host, port, absolute):
    location = LocationMap(scheme, host, port, "", "/p", strip=True)

    assert seen(location, absolute, b"/y/z") == b"/p/x"
    assert seen(location, b"x", b"/y/z") == b"/p/y/x"
    assert seen(location, b"//%b/x" % absolute.split(b"/")[2], b"/y/z") == b"/p/x"


def test_a_target_that_is_not_ascii_leaves_the_value_alone():
    assert seen(ROUTE, b"8", b"/v2/\xff") == b"8"
