from dataclasses import replace

import pytest

from proxy.definitions.models import Connection, Definitions, IClient, Route, Timeouts
from proxy.definitions.settings import (
    AdminListener,
    Limits,
    ListenerAuth,
    Listeners,
    ListenerTls,
    Log,
    ReverseListener,
    Shutdown,
    TcpBind,
    UnixBind,
)
from proxy.runtime.changes import changes
from proxy.runtime.doors import doors
from proxy.secret import Secret

CLIENT = IClient(
    name="erp",
    client_id="erp",
    client_secret=Secret("canary-one"),
    grant_type="client_credentials",
    client_auth="client_secret_basic",
    token_url="https://auth.example.com/token",
    valid_domains=("example.com",),
)
USUAL = TcpBind(host="127.0.0.1", port=7480)
OTHER = TcpBind(host="127.0.0.1", port=7481)
ANY = TcpBind(host="127.0.0.1", port=0)


def connection(name, bind=None, **settings):
    route = Route(prefix=f"/{name}", bind=bind)
    return Connection(**{"name": name, "base_url": "https://api.example.com", "route": route, **settings})


def definitions(*connections, **settings):
    return Definitions(connections=connections, **settings)


def listening(*reverse):
    return Listeners(reverse=reverse)


def names(found):
    return tuple(door.connections for door in found)


def test_nothing_has_changed_when_the_same_is_read_again():
    def read():
        client = replace(CLIENT, client_secret=Secret("canary-" + "one"))
        return definitions(connection("a", iclient=client), connection("b"), connection("c", OTHER))

    found = changes(read(), read())

    assert found.kept == ("a", "b", "c")
    assert (found.changed, found.added, found.removed, found.needs_restart) == ((), (), (), ())
    assert (found.opened, found.closed) == ((), ())
    assert names(found.kept_doors) == (("a", "b"), ("c",))


@pytest.mark.case("C-25")
@pytest.mark.parametrize(
    "new",
    [
        connection("a", iclient=replace(CLIENT, client_secret=Secret("canary-two"))),
        connection("a", iclient=replace(CLIENT, scopes=("read",))),
        connection("a", iclient=CLIENT, timeouts=Timeouts(response=1.0)),
        connection("a", iclient=CLIENT, headers=(("X-A", "1"),)),
        connection("a"),
    ],
    ids=["secret", "scope", "timeout", "header", "no token any more"],
)
def test_a_connection_is_made_anew_when_anything_of_it_differs_and_the_others_are_kept(new):
    found = changes(definitions(connection("a", iclient=CLIENT), connection("b")), definitions(new, connection("b")))

    assert (found.kept, found.changed, found.added, found.removed) == (("b",), ("a",), (), ())
    assert found.definitions.connections == (new, connection("b"))


def test_connections_come_and_go_and_stand_in_their_new_order():
    found = changes(
        definitions(connection("a"), connection("b"), connection("c")),
        definitions(connection("d"), connection("c"), connection("b")),
    )

    assert (found.kept, found.changed, found.added, found.removed) == (("c", "b"), (), ("d",), ("a",))
    assert names(found.kept_doors) == (("d", "c", "b"),)


def test_a_port_of_ones_own_opens_and_closes_with_its_connection():
    with_own, without = definitions(connection("a"), connection("b", OTHER)), definitions(connection("a"))

    opening, closing = changes(without, with_own), changes(with_own, without)

    assert (names(opening.opened), opening.closed) == ((("b",),), ())
    assert (closing.opened, names(closing.closed)) == ((), (("b",),))


def test_a_port_of_ones_own_stays_open_when_another_connection_takes_it():
    found = changes(definitions(connection("a", OTHER)), definitions(connection("b", OTHER)))

    assert (found.opened, found.closed) == ((), ())
    assert names(found.kept_doors) == (("b",),)


def test_any_free_port_belongs_to_the_connection_that_got_it():
    found = changes(definitions(connection("a", ANY), connection("b", ANY)), definitions(connection("b", ANY)))

    assert (names(found.kept_doors), names(found.closed), found.opened) == ((("b",),), (("a",),), ())


def test_two_reverse_listeners_on_any_free_port_are_two_doors():
    both = definitions(connection("a"), listeners=listening(ReverseListener(bind=ANY), ReverseListener(bind=ANY)))

    assert len({door.key for door in doors(both)}) == 2


def test_the_reverse_listener_closes_with_the_last_route_on_it():
    without_route = Connection(name="a", base_url="https://api.example.com")

    found = changes(definitions(connection("a")), definitions(without_route, listeners=listening()))

    assert [door.settings.bind for door in found.closed] == [USUAL]
    assert doors(found.definitions) == ()


def test_a_listener_that_moves_is_opened_there_before_it_is_closed_here():
    there = UnixBind(path="/run/iclient-proxy.sock")
    found = changes(
        definitions(connection("a")), definitions(connection("a"), listeners=listening(ReverseListener(bind=there)))
    )

    assert [door.settings.bind for door in found.opened] == [there]
    assert [door.settings.bind for door in found.closed] == [USUAL]
    assert found.needs_restart == ()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"via": "always"}, ("via",)),
        ({"limits": Limits(token_wait=1.0, tunnels=1)}, ("limits.tunnels", "limits.token_wait")),
        ({"log": Log(level="debug")}, ("log.level",)),
        ({"shutdown": Shutdown(grace=1.0)}, ("shutdown.grace",)),
        ({"listeners": Listeners(admin=None)}, ("listeners.admin",)),
        ({"listeners": Listeners(admin=AdminListener(bind=OTHER))}, ("listeners.admin",)),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, tuple) else "",
)
def test_what_needs_a_restart_is_named_and_stays_as_it_was_while_the_rest_is_applied(settings, named):
    running = definitions(connection("a"))
    found = changes(running, definitions(connection("a"), connection("b"), **settings))

    assert found.needs_restart == named
    assert found.added == ("b",)
    assert replace(found.definitions, connections=running.connections) == running
    assert changes(found.definitions, running).needs_restart == ()


def test_hosts_origins_and_a_bearer_of_a_bound_listener_are_exchanged():
    new = ReverseListener(
        allowed_hosts=("crm.local",), allow_origins=("http://x",), auth=ListenerAuth(bearer=Secret("canary-bearer"))
    )
    found = changes(definitions(connection("a")), definitions(connection("a"), listeners=listening(new)))

    assert found.needs_restart == ()
    assert [door.settings for door in found.kept_doors] == [new]


def certified(content, **auth):
    tls = ListenerTls(cert="/c.pem", key="/k.pem", chain=content, private=Secret("canary-key"))
    return ReverseListener(tls=tls, auth=ListenerAuth(**auth) if auth else None)


def after_a_change(old, new):
    """Return the definitions before a reload, and what the reload does."""
    running = definitions(connection("a"), listeners=listening(old))
    return running, changes(running, definitions(connection("a"), listeners=listening(new)))


@pytest.mark.parametrize(
    "new",
    [
        certified("two", client_ca="/ca.pem", client_roots="one"),
        certified("one", client_ca="/ca.pem", client_roots="two"),
    ],
    ids=["the certificate", "the authority of clients"],
)
def test_a_listener_whose_files_hold_something_else_is_kept_and_its_tls_renewed(new):
    _, found = after_a_change(certified("one", client_ca="/ca.pem", client_roots="one"), new)

    assert found.needs_restart == ()
    assert [door.settings for door in found.kept_doors] == [new]
    assert found.renewed == found.kept_doors
    assert changes(found.definitions, found.definitions).renewed == ()


def test_a_bound_listener_keeps_its_auth_together_with_the_tls_that_it_relies_on():
    old = certified("one", bearer=Secret("canary-bearer"))
    new = replace(certified("two", client_ca="/ca.pem", client_roots="one"), allowed_hosts=("crm.local",))
    _, found = after_a_change(old, new)

    assert found.needs_restart == ("tls and auth of 127.0.0.1:7480",)
    assert found.renewed == ()
    assert [door.settings for door in found.kept_doors] == [replace(old, allowed_hosts=("crm.local",))]


@pytest.mark.parametrize("plain_first", [True, False])
def test_a_bound_listener_neither_begins_nor_ceases_to_speak_tls(plain_first):
    plain, secured = ReverseListener(), certified("one")
    running, found = after_a_change(*((plain, secured) if plain_first else (secured, plain)))

    assert found.needs_restart == ("tls and auth of 127.0.0.1:7480",)
    assert found.definitions == running
