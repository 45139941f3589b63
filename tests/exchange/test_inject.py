import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.access_token import AccessToken
from proxy.definitions.models import HeaderPlacement, QueryPlacement
from proxy.exchange.inject import HeaderInjector, QueryInjector
from proxy.secret import Secret

TOKEN = AccessToken(Secret("a+b/c=&~ü"), 1)
SPELT = b"a%2Bb%2Fc%3D%26~%C3%BC"


def query(name="access_token"):
    return QueryInjector(QueryPlacement(name=name))


# A header


@pytest.mark.parametrize(
    ("name", "scheme", "line"),
    [
        ("Authorization", "Bearer", b"Authorization: Bearer t-1\r\n"),
        ("X-API-Key", "", b"X-API-Key: t-1\r\n"),
        ("authorization", "Zoho-oauthtoken", b"authorization: Zoho-oauthtoken t-1\r\n"),
    ],
)
def test_a_header_holds_the_token_behind_its_scheme(name, scheme, line):
    injector = HeaderInjector(HeaderPlacement(name=name, scheme=scheme))

    assert injector.line(AccessToken(Secret("t-1"), 1)) == line
    assert injector.name == name.lower().encode()


def test_the_line_is_made_once_for_a_token_and_anew_for_the_next():
    injector = HeaderInjector(HeaderPlacement())
    first, second = AccessToken(Secret("t-1"), 1), AccessToken(Secret("t-2"), 2)

    assert injector.line(first) is injector.line(first)
    assert injector.line(second) == b"Authorization: Bearer t-2\r\n"
    assert injector.line(first) == b"Authorization: Bearer t-1\r\n"


# A parameter


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/x", b"/x?access_token=%b"),
        (b"/x?", b"/x?access_token=%b"),
        (b"/x?a=1", b"/x?a=1&access_token=%b"),
        (b"/x?a=1&b", b"/x?a=1&b&access_token=%b"),
        (b"/x?access_token=theirs", b"/x?access_token=%b"),
        (b"/x?access_token", b"/x?access_token=%b"),
        (b"/x?a=1&access_token=theirs&b=2", b"/x?a=1&b=2&access_token=%b"),
        (b"/x?a=1;access_token=theirs;b=2", b"/x?a=1;b=2&access_token=%b"),
        (b"/x?access_token=1&access_token=2;access_token=3", b"/x?access_token=%b"),
        (b"/x?a=1&access%5Ftoken=theirs", b"/x?a=1&access_token=%b"),
        (b"/x?%61ccess_token=theirs&a", b"/x?a&access_token=%b"),
        (b"/x?Access_Token=other", b"/x?Access_Token=other&access_token=%b"),
        (b"/x?access_token2=other", b"/x?access_token2=other&access_token=%b"),
        (b"/x?a=access_token=b", b"/x?a=access_token=b&access_token=%b"),
        (b"/x?q=a?access_token=b", b"/x?q=a?access_token=b&access_token=%b"),
        (b"/x?a&&b&;c&", b"/x?a&&b&;c&&access_token=%b"),
        (b"/x?a&&access_token=1&&", b"/x?a&access_token=%b"),
        (b"/x?access_token&a=1", b"/x?a=1&access_token=%b"),
        (b"/x?access_tokenX", b"/x?access_tokenX&access_token=%b"),
        (b"/x?access_token;a=1", b"/x?a=1&access_token=%b"),
        (b"/x?access_token=1&a=bX", b"/x?a=bX&access_token=%b"),
        (b"/x?a;;b&access_token=1", b"/x?a;;b&access_token=%b"),
        (b"/x?a&&b;&access_token=1&c", b"/x?a&&b;&c&access_token=%b"),
        (b"/x?%zz=1+2%20", b"/x?%%zz=1+2%%20&access_token=%b"),
        (b"/access_token=x?a", b"/access_token=x?a&access_token=%b"),
    ],
)
def test_the_parameter_is_replaced_and_every_other_byte_stays(target, expected):
    assert query().target(target, TOKEN) == expected % SPELT


def test_a_plus_in_a_query_is_a_space():
    target = query("my key").target(b"/x?my+key=1&my%20key=2&mykey=3", TOKEN)

    assert target == b"/x?mykey=3&my%20key=" + SPELT


@pytest.mark.parametrize(
    ("target", "occurs"),
    [
        (b"/x?access_token=1", True),
        (b"/x?a=1&access_token", True),
        (b"/x?a=1;access_token=1;b", True),
        (b"/x?a&%61ccess_token=1", True),
        (b"/x", False),
        (b"/x?", False),
        (b"/access_token=1", False),
        (b"/x?a=access_token", False),
        (b"/x?access_token_=1", False),
        (b"/x?ACCESS_TOKEN=1", False),
        (b"/x?q=a?access_token=b", False),
        (b"/x?access_tokenX", False),
    ],
)
def test_whether_the_parameter_is_there_already_is_known(target, occurs):
    assert query().occurs(target) is occurs


@given(st.text("ab=&;?%61+access_token", max_size=60).map(str.encode))
def test_whatever_the_query_is_the_parameter_stands_in_it_once_and_last(rest):
    injector = query("a")

    target = injector.target(b"/x?" + rest, TOKEN)

    before, name, value = target.rpartition(b"a=")
    assert (name, value) == (b"a=", SPELT)
    assert not injector.occurs(before)
