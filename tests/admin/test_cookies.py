import pytest

from proxy.admin.cookies import sessions, set_cookie

ONE, TWO = "s" * 43, "t" * 43


@pytest.mark.case("A-332")
def test_on_https_only_this_host_over_tls_can_have_set_the_cookie():
    name, *rest = set_cookie((), ONE, secure=True).split("; ")

    assert name == f"__Host-iclient_proxy_flow={ONE}"
    assert rest == ["Path=/", "Max-Age=600", "HttpOnly", "SameSite=Lax", "Secure"]
    assert sessions([f"iclient_proxy_flow={ONE}"], secure_only=True) == ()
    assert sessions([f"a=b; __Host-iclient_proxy_flow={ONE}"], secure_only=True) == (ONE,)


@pytest.mark.case("A-332")
def test_on_a_loopback_address_it_needs_no_tls():
    assert set_cookie((), ONE, secure=False) == (
        f"iclient_proxy_flow={ONE}; Path=/; Max-Age=600; HttpOnly; SameSite=Lax"
    )
    assert sessions([f"a=b;iclient_proxy_flow={ONE}"], secure_only=False) == (ONE,)


@pytest.mark.case("A-344")
def test_a_browser_may_have_several_flows_open():
    cookie = set_cookie((ONE,), TWO, secure=False).partition(";")[0]

    assert sessions([cookie], secure_only=False) == (ONE, TWO)
    assert set_cookie((ONE, TWO), ONE, secure=False).startswith(f"iclient_proxy_flow={TWO}.{ONE};")


def test_the_oldest_flows_leave_a_cookie_that_would_grow_too_long():
    known = tuple(f"{number:043d}" for number in range(40))

    cookie = set_cookie(known, ONE, secure=False).partition(";")[0]
    assert len(cookie) < 1024
    assert sessions([cookie], secure_only=False) == (*known[-11:], ONE)


@pytest.mark.parametrize("value", ["", "short", "a" * 200, "x y" * 10, "ä" * 43, ".....", f'"{ONE}"'])
def test_what_is_no_session_is_not_read(value):
    assert sessions([f"iclient_proxy_flow={value}"], secure_only=False) == ()
