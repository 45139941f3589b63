"""What a URL, a valid domain and a host may not be: each with the code and the remedy that the operator gets."""

import pytest

from proxy.definitions.domains import (
    DomainError,
    ValidDomain,
    canonical_host,
    check_url,
    entry_for,
    is_loopback,
    is_metadata,
    parse_url,
    parse_valid_domain,
)
from proxy.definitions.suffixes import PUBLIC_SUFFIXES, registrable


def refused(function, *arguments):
    with pytest.raises(DomainError) as raised:
        function(*arguments)
    assert str(raised.value) == raised.value.message
    return raised.value.code


# URLs


@pytest.mark.parametrize("character", [*map(chr, range(0x21)), "\x7f", *'<>"\\^`{|}'])
@pytest.mark.parametrize(
    "text", ["https://domain.com/a%sb", "https://dom%sain.com/", "%shttps://domain.com/", "https://domain.com/%s"]
)
def test_a_character_that_no_url_has_is_refused_wherever_it_stands(character, text):
    assert refused(parse_url, text.replace("%s", character)) == "bad_url_char"


@pytest.mark.parametrize("character", "!$&'()*+,-./0123456789:;=?@ABCXYZ[]_abcxyz~%")
def test_every_other_character_may_stand_in_a_path(character):
    assert parse_url(f"https://domain.com/a{character}b").path_and_query == f"/a{character}b"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("https://dömain.com/", "non_ascii_host"),
        ("https://domain.com/ä", "bad_url_char"),
        ("https://domain.com?ä", "bad_url_char"),
        ("ä", "non_ascii_host"),
        ("httpsä://domain.com", "non_ascii_host"),
        ("https://user@domain.com/", "userinfo_forbidden"),
        ("https://user:pw@domain.com/", "userinfo_forbidden"),
        ("https://@domain.com", "userinfo_forbidden"),
        ("https://domain.com#a", "fragment_forbidden"),
        ("https://domain.com/#", "fragment_forbidden"),
        ("https://domain.com#a@b", "fragment_forbidden"),
        ("https://", "invalid_url"),
        ("https:///a", "invalid_url"),
        ("https:domain.com", "invalid_url"),
        ("//domain.com/", "invalid_url"),
        ("domain.com", "invalid_url"),
        ("ftp://domain.com/", "invalid_url"),
        ("xhttps://domain.com/", "invalid_url"),
        ("https://:443/", "invalid_url"),
        ("https://domain.com:/", "invalid_url"),
        ("https://domain.com:0/", "invalid_url"),
        ("https://domain.com:65536/", "invalid_url"),
        ("https://domain.com:000443/", "invalid_url"),
        ("https://domain.com:+1/", "invalid_url"),
        ("https://domain.com:1x/", "invalid_url"),
        ("https://a:b:c/", "invalid_url"),
        ("https://a:1:2/", "invalid_url"),
        ("https://[::1/", "invalid_url"),
        ("https://[::1]x/", "invalid_url"),
        ("https://[::1]443/", "invalid_url"),
        ("https://[::1]:/", "invalid_url"),
        ("https://::1/", "invalid_url"),
        ("https://[domain.com]/", "invalid_host"),
        ("https://[]/", "invalid_host"),
        ("https://[::1%25eth0]/", "ip_host_forbidden"),
        ("https://[::ffff:1.2.3.4]/", "ip_host_forbidden"),
        ("https://0x/", "ip_host_forbidden"),
        ("https://0xff/", "ip_host_forbidden"),
        ("https://1.2.3/", "ip_host_forbidden"),
        ("https://a.1/", "ip_host_forbidden"),
        ("https://a..b/", "invalid_host"),
        ("https://.a/", "invalid_host"),
        ("https://-a.com/", "invalid_host"),
        ("https://a-.com/", "invalid_host"),
        ("https://a,b.com/", "invalid_host"),
        ("https://a%41.com/", "invalid_host"),
        (f"https://{'a' * 64}.com/", "invalid_host"),
        (f"https://{'a.' * 127}/", "invalid_host") if len("a." * 127) > 254 else ("https://a../", "invalid_host"),
    ],
)
def test_a_url_that_two_parsers_could_read_differently_is_refused(text, code):
    assert refused(parse_url, text) == code


@pytest.mark.parametrize(
    ("text", "again"),
    [
        ("https://a_b.domain.com/", "https://a_b.domain.com/"),
        ("https://_dmarc.domain.com/", "https://_dmarc.domain.com/"),
        ("https://a_.domain.com/", "https://a_.domain.com/"),
        (f"https://{'a' * 63}.com/", f"https://{'a' * 63}.com/"),
        ("https://a.xn--p1ai", "https://a.xn--p1ai/"),
        ("https://0xg.com:65535/", "https://0xg.com:65535/"),
        ("http://domain.com:443/", "http://domain.com:443/"),
        ("http://domain.com:80", "http://domain.com/"),
        ("https://domain.com:00443?a=b?c", "https://domain.com/?a=b?c"),
        ("https://[2001:DB8:0:0::1]:8443/x", "https://[2001:db8::1]:8443/x"),
        ("https://domain.com/a@b:c", "https://domain.com/a@b:c"),
    ],
)
def test_a_good_url_is_written_in_one_way(text, again):
    assert str(parse_url(text)) == again
    assert parse_url(again) == parse_url(text)


def test_a_host_has_253_characters_at_most():
    labels = ".".join(["a" * 49] * 5)  # 249

    assert canonical_host(f"{labels}.bcd") == f"{labels}.bcd"
    assert refused(canonical_host, f"{labels}.bcde") == "invalid_host"


def test_a_host_alone_is_held_to_the_same():
    assert canonical_host("Domain.COM.") == "domain.com"
    assert canonical_host("127.0.0.1") == "127.0.0.1"
    assert canonical_host("[2001:DB8::1]") == "2001:db8::1"
    assert refused(canonical_host, "dömain.com") == "non_ascii_host"
    assert refused(canonical_host, "127.1") == "ip_host_forbidden"
    assert refused(canonical_host, "[::1") == "ip_host_forbidden"
    assert refused(canonical_host, "") == "invalid_host"


# Valid domains


@pytest.mark.parametrize(
    ("entry", "parsed"),
    [
        ("domain.com", ValidDomain("domain.com", None, exact=False)),
        ("Domain.COM.:8443", ValidDomain("domain.com", 8443, exact=False)),
        ("localhost:8080", ValidDomain("localhost", 8080, exact=True)),
        ("127.0.0.1:80", ValidDomain("127.0.0.1", 80, exact=True)),
        ("[::1]:80", ValidDomain("::1", 80, exact=True)),
        ("acme.co.uk", ValidDomain("acme.co.uk", None, exact=False)),
        ("acme.github.io", ValidDomain("acme.github.io", None, exact=False)),
    ],
)
def test_an_entry_is_a_domain_or_one_host_with_its_port(entry, parsed):
    assert parse_valid_domain(entry) == parsed


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ("*.domain.com", "valid_domain_too_broad"),
        ("*", "valid_domain_too_broad"),
        ("com", "valid_domain_too_broad"),
        ("localhost", "valid_domain_too_broad"),
        ("co.uk", "valid_domain_too_broad"),
        ("CO.UK.", "valid_domain_too_broad"),
        ("github.io", "valid_domain_too_broad"),
        ("co.uk:443", "valid_domain_too_broad"),
        ("https://domain.com", "valid_domain_invalid"),
        ("domain.com/path", "valid_domain_invalid"),
        ("127.0.0.1", "valid_domain_invalid"),
        ("[::1]", "valid_domain_invalid"),
        ("domain.com:0", "valid_domain_invalid"),
        ("domain.com:65536", "valid_domain_invalid"),
        ("domain.com:x", "valid_domain_invalid"),
        ("", "valid_domain_invalid"),
        (":443", "valid_domain_invalid"),
        ("2130706433:443", "valid_domain_invalid"),
        ("dömain.com", "valid_domain_invalid"),
        ("domain.com:65535:1", "valid_domain_invalid"),
    ],
)
def test_an_entry_that_covers_too_much_or_nothing_is_refused(entry, code):
    assert refused(parse_valid_domain, entry) == code


def test_an_entry_covers_at_label_boundaries_and_an_exact_one_itself_alone():
    domain = ValidDomain("domain.com", None, exact=False)
    host = ValidDomain("localhost", 8080, exact=True)

    assert [domain.covers(name) for name in ("domain.com", "a.domain.com", "adomain.com", "domain.com.a", "com")] == [
        True, True, False, False, False,
    ]  # fmt: skip
    assert [host.covers(name) for name in ("localhost", "a.localhost")] == [True, False]


# Whether a request may go there


@pytest.mark.parametrize(
    ("url", "entries", "code"),
    [
        ("https://a.com:8443/", ["domain.com"], "url_outside_valid_domains"),
        ("https://domain.com:8443/", ["domain.com", "a.domain.com:8443"], "port_not_allowed"),
        ("https://domain.com/", ["domain.com:8443", "domain.com:444"], "port_not_allowed"),
        ("https://a.localhost:8080/", ["localhost:8080"], "url_outside_valid_domains"),
        ("https://localhost:8081/", ["localhost:8080"], "port_not_allowed"),
        ("https://8.8.8.8/", ["8.8.8.8:8443"], "ip_host_forbidden"),
        ("https://metadata/", ["metadata:443"], "metadata_address"),
        ("https://metadata.goog/", ["metadata.goog"], "metadata_address"),
        ("https://instance-data/", ["instance-data:443"], "metadata_address"),
        ("https://domain.com/", [], "url_outside_valid_domains"),
    ],
)
def test_a_url_that_no_entry_covers_is_refused(url, entries, code):
    assert refused(check_url, url, entries) == code


def test_one_of_several_entries_is_enough():
    assert check_url("https://a.domain.com:8443/", ["domain.com", "a.domain.com:8443", "b.com"]).port == 8443
    assert check_url("https://a.domain.com/", ["domain.com:8443", "a.domain.com"]).port == 443


def test_a_public_address_may_come_from_a_placeholder_where_it_is_listed_and_a_private_one_may_not():
    assert check_url("https://8.8.8.8/", ["8.8.8.8:443"], host_from_placeholder=True).host == "8.8.8.8"
    with pytest.raises(DomainError) as raised:
        check_url("https://10.0.0.1/", ["10.0.0.1:443"], host_from_placeholder=True)
    assert raised.value.code == "ip_host_forbidden"


def test_http_is_refused_with_the_remedy_that_helps():
    for allowed, words in ((False, "allow_insecure: true"), (True, "write domain.com:80 in valid_domains")):
        with pytest.raises(DomainError) as raised:
            check_url("http://domain.com/", ["domain.com"], allowed)
        assert raised.value.code == "insecure_url"
        assert words in raised.value.message


@pytest.mark.parametrize("number", [1, 5, 6])
def test_a_refusal_lists_the_entries_but_not_without_end(number):
    entries = [f"d{index}.com" for index in range(number - 1)] + ["last.com:8443"]

    with pytest.raises(DomainError) as raised:
        check_url("https://evil.com/", entries)

    shown = ", ".join((*entries[:-1], "last.com:8443")[:5]) + (" …" if number > 5 else "")
    assert raised.value.message.endswith(f"({shown})")


@pytest.mark.parametrize(
    ("url", "entry"),
    [
        ("https://domain.com/", "domain.com"),
        ("https://domain.com:8443/", "domain.com:8443"),
        ("http://domain.com/", "domain.com:80"),
        ("http://domain.com:443/", "domain.com:443"),
        ("https://localhost/", "localhost:443"),
        ("https://8.8.8.8/", "8.8.8.8:443"),
        ("https://[::1]/", "[::1]:443"),
    ],
)
def test_the_default_entry_is_the_narrowest_that_covers(url, entry):
    assert entry_for(parse_url(url)) == entry


METADATA = [
    "169.254.169.254",
    "fe80::1",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd20:ce::254",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "instance-data",
]


@pytest.mark.parametrize("host", METADATA)
def test_every_place_where_a_cloud_hands_out_credentials_is_known(host):
    assert is_metadata(host)


@pytest.mark.parametrize(
    "host", ["169.253.0.1", "fd00:ec2::1", "100.100.100.201", "metadata.com", "a.metadata", "::1", "a1"]
)
def test_other_hosts_are_no_metadata_service(host):
    assert not is_metadata(host)


def test_loopback_is_known_by_addresses_and_names():
    assert [is_loopback(host) for host in ("localhost", "a.localhost", "127.1.2.3", "::1")] == [True] * 4
    assert [is_loopback(host) for host in ("alocalhost", "localhost.a", "::2", "8.8.8.8", "a1", "")] == [False] * 6


@pytest.mark.parametrize(
    ("url", "authority", "address"),
    [
        ("https://domain.com/", "domain.com", None),
        ("https://domain1/", "domain1", None),
        ("http://domain.com:443/", "domain.com:443", None),
        ("https://[::1]/", "[::1]", "::1"),
        ("https://[::1]:80/", "[::1]:80", "::1"),
        ("https://[2001:db8::a]/", "[2001:db8::a]", "2001:db8::a"),
        ("https://8.8.8.8/", "8.8.8.8", "8.8.8.8"),
    ],
)
def test_what_the_host_field_says_and_whether_it_is_an_address(url, authority, address):
    parsed = parse_url(url)

    assert parsed.authority == authority
    assert (None if parsed.address is None else str(parsed.address)) == address


# Public suffixes


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("api.acme.co.uk", "acme.co.uk"),
        ("acme.co.uk", "acme.co.uk"),
        ("co.uk", "co.uk"),
        ("a.b.c.acme.com", "acme.com"),
        ("acme.com", "acme.com"),
        ("com", "com"),
        ("a.acme.github.io", "acme.github.io"),
        ("acme.github.io", "acme.github.io"),
        ("github.io", "github.io"),
        ("a.b.blob.core.windows.net", "b.blob.core.windows.net"),
        ("blob.core.windows.net", "blob.core.windows.net"),
        ("10.1.2.3", "10.1.2.3"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
def test_the_domain_that_somebody_registered_is_found(host, domain):
    assert registrable(host) == domain


def test_a_list_without_a_lookalike_of_its_own_is_kept():
    assert not {"github.com", "acme.co.uk", "uk", "com"} & PUBLIC_SUFFIXES
    assert {"co.uk", "com.au", "github.io", "herokuapp.com"} <= PUBLIC_SUFFIXES


def test_every_public_suffix_is_a_name_of_at_least_two_labels():
    assert len(PUBLIC_SUFFIXES) > 500
    for suffix in PUBLIC_SUFFIXES:
        assert canonical_host(suffix) == suffix
        assert "." in suffix
