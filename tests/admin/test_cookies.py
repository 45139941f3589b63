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


@pytest.mark.parametrize("session", ["A-_z09" * 5, "A" * 16, "z" * 128, "_" * 40, "-" * 40, "Z" * 20, "a" * 20])
def test_a_session_has_sixteen_to_128_characters_that_need_no_encoding(session):
    assert sessions([f"iclient_proxy_flow={session}"], secure_only=False) == (session,)


def test_only_the_last_dozen_of_what_a_browser_brings_is_looked_at_and_each_once():
    known = [f"{number:043d}" for number in range(40)]

    assert sessions(["iclient_proxy_flow=" + ".".join(known)], secure_only=False) == tuple(known[-12:])
    assert sessions([f"iclient_proxy_flow={ONE}.{TWO}.{ONE}"], secure_only=False) == (ONE, TWO)


def test_a_name_ends_at_the_first_equals_sign():
    for odd in (f"iclient_proxy_flow=x={ONE}", f"x=iclient_proxy_flow={ONE}", f"iclient_proxy_flow={ONE}="):
        assert sessions([odd], secure_only=False) == ()


def test_all_fields_and_both_names_count_where_no_tls_is_asked_for():
    fields = [f"a=b; iclient_proxy_flow={ONE}", f"__Host-iclient_proxy_flow={TWO}"]

    assert sessions(fields, secure_only=False) == (ONE, TWO)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "short",
        "a" * 15,
        "a" * 129,
        "a" * 40 + "+",
        "a" * 40 + "/",
        "a" * 200,
        "x y" * 10,
        "ä" * 43,
        ".....",
        f'"{ONE}"',
    ],
)
def test_what_is_no_session_is_not_read(value):
    assert sessions([f"iclient_proxy_flow={value}"], secure_only=False) == ()
