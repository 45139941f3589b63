import asyncio
import socket
import threading

import pytest

from proxy.outbound.resolve import ResolveError, Resolver
from tests.support.deadline import awaiting


def found(*addresses):
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]


class Names:
    """A scripted name service: what a name leads to, and names that nobody answers for until they are released."""

    def __init__(self, **names):
        self.names = {name.replace("_", "."): addresses for name, addresses in names.items()}
        self.asked = []
        self.stalled = threading.Event()

    def __call__(self, host, port, **_):
        self.asked.append(host)
        if host.startswith("stalled"):
            assert self.stalled.wait(30)
        if host not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return found(*self.names[host])


@pytest.fixture
def names():
    service = Names(api_example=["192.0.2.1", "2001:db8::1"], many_example=[f"192.0.2.{n}" for n in range(100)])
    yield service
    service.stalled.set()


async def test_a_name_is_looked_up_and_its_addresses_returned_in_order(names):
    assert await Resolver(lookup=names).resolve("api.example", 443) == ("192.0.2.1", "2001:db8::1")


@pytest.mark.parametrize(
    ("host", "address"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("[::1]", "::1"), ("2001:DB8::0", "2001:db8::")]
)
async def test_an_address_needs_no_lookup(names, host, address):
    assert await Resolver(lookup=names).resolve(host, 80) == (address,)
    assert names.asked == []


async def test_of_many_addresses_the_first_sixteen_are_used(names):
    assert len(await Resolver(lookup=names).resolve("many.example", 443)) == 16


async def test_a_repeated_address_counts_once(names):
    names.names["api.example"] = ["192.0.2.1"] * 3

    assert await Resolver(lookup=names).resolve("api.example", 443) == ("192.0.2.1",)


@pytest.mark.case("T-53")
@pytest.mark.parametrize("host", ["nobody.example", "a" * 64 + ".example"])
async def test_a_name_without_addresses_is_a_dns_error(host):
    def lookup(host, port, **_):
        host.encode("idna")
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    with pytest.raises(ResolveError) as failure:
        await Resolver(lookup=lookup).resolve(host, 443)

    assert failure.value.code == "dns_error"


@pytest.mark.case("T-53")
async def test_an_empty_answer_is_a_dns_error(names):
    names.names["api.example"] = []

    with pytest.raises(ResolveError) as failure:
        await Resolver(lookup=names).resolve("api.example", 443)

    assert failure.value.code == "dns_error"


@pytest.mark.case("T-53")
async def test_a_stalled_name_times_out_and_stalls_nobody_else(names):
    resolver = Resolver(lookup=names, patience=0.2)
    stalled = [asyncio.create_task(resolver.resolve(f"stalled{n}.example", 443), name=str(n)) for n in range(20)]
    await asyncio.sleep(0)

    async with awaiting("another name"):
        assert await resolver.resolve("api.example", 443)
    ends = await asyncio.gather(*stalled, return_exceptions=True)

    assert {end.code for end in ends if isinstance(end, ResolveError)} == {"dns_timeout"}
    assert len(ends) == 20


@pytest.mark.case("T-53")
async def test_more_stalled_names_than_threads_hold_up_another_name_for_a_moment_only(names):
    resolver = Resolver(lookup=names, threads=4, stalled=0.05)
    stalled = [asyncio.create_task(resolver.resolve(f"stalled{n}.example", 443), name=str(n)) for n in range(40)]
    await asyncio.sleep(0)

    async with awaiting("another name", 4):
        assert await resolver.resolve("api.example", 443)
    assert not any(task.done() for task in stalled)
    names.stalled.set()
    await asyncio.gather(*stalled, return_exceptions=True)


@pytest.mark.case("T-53")
async def test_a_name_that_was_answered_for_does_not_stand_in_line_behind_unknown_ones_that_stall(names):
    resolver = Resolver(lookup=names, threads=1, stalled=60.0, patience=60.0)
    assert await resolver.resolve("api.example", 443)
    stalled = [asyncio.create_task(resolver.resolve(f"stalled{n}.example", 443), name=str(n)) for n in range(40)]
    await asyncio.sleep(0)

    async with awaiting("the name"):
        for _ in range(3):
            assert await resolver.resolve("api.example", 443)
    assert not any(task.done() for task in stalled)
    names.stalled.set()
    await asyncio.gather(*stalled, return_exceptions=True)


@pytest.mark.case("T-53")
async def test_names_that_stalled_before_have_places_of_their_own(names):
    resolver = Resolver(lookup=names, threads=1, stalled=0.05, patience=0.2)
    dead = [f"stalled{n}.example" for n in range(8)]

    async def asked_for():
        return await asyncio.gather(*(resolver.resolve(name, 443) for name in dead), return_exceptions=True)

    assert {end.code for end in await asked_for()} == {"dns_timeout"}
    names.stalled.set()
    async with awaiting("the end of the lookups"):
        while "dns_timeout" in {end.code for end in await asked_for()}:
            pass
    names.stalled.clear()
    again = asyncio.create_task(asked_for(), name="again")
    await asyncio.sleep(0)
    names.asked.clear()

    assert await resolver.resolve("api.example", 443)  # the one place for other names is free
    assert set(names.asked) <= {"api.example", *dead}
    assert {end.code for end in await again} == {"dns_timeout"}
    names.names |= {name: ["192.0.2.1"] for name in dead}
    names.stalled.set()
    async with awaiting("names that are well again"):
        while await asked_for() != [("192.0.2.1",)] * len(dead):
            pass


async def test_one_name_is_looked_up_once_at_a_time(names):
    names.names["stalled.example"] = ["192.0.2.9"]
    resolver = Resolver(lookup=names)
    asking = [asyncio.create_task(resolver.resolve("stalled.example", 443), name=str(n)) for n in range(100)]
    await asyncio.sleep(0)
    asking[0].cancel()
    names.stalled.set()

    answers = await asyncio.gather(*asking[1:])

    assert set(answers) == {("192.0.2.9",)}
    assert names.asked == ["stalled.example"]


async def test_who_comes_after_a_lookup_gets_a_new_one(names):
    resolver = Resolver(lookup=names)
    await resolver.resolve("api.example", 443)
    names.names["api.example"] = ["192.0.2.7"]

    assert await resolver.resolve("api.example", 443) == ("192.0.2.7",)


async def test_names_beyond_the_bound_wait_for_a_free_thread(names):
    names.names |= {"stalled1.example": ["192.0.2.1"], "stalled2.example": ["192.0.2.2"]}
    resolver = Resolver(lookup=names, threads=1)
    first = asyncio.create_task(resolver.resolve("stalled1.example", 443), name="first")
    await asyncio.sleep(0)
    second = asyncio.create_task(resolver.resolve("stalled2.example", 443), name="second")
    await asyncio.sleep(0)

    assert names.asked in ([], ["stalled1.example"])
    names.stalled.set()

    assert await asyncio.gather(first, second) == [("192.0.2.1",), ("192.0.2.2",)]


async def test_the_name_service_of_the_machine_knows_localhost():
    assert set(await Resolver().resolve("localhost", 80)) & {"127.0.0.1", "::1"}


@pytest.mark.case("F-250")
async def test_names_that_nobody_waits_for_any_more_keep_none_of_the_others_waiting(names):
    resolver = Resolver(lookup=names, threads=1, stalled=30)
    leaving = [asyncio.create_task(resolver.resolve(f"stalled-{n}.example", 443)) for n in range(100)]
    await asyncio.sleep(0)
    staying = asyncio.create_task(resolver.resolve("api.example", 443))
    for task in leaving:
        task.cancel()
    await asyncio.gather(*leaving, return_exceptions=True)
    names.stalled.set()

    assert await staying == ("192.0.2.1", "2001:db8::1")
    assert names.asked == ["stalled-0.example", "api.example"]
    assert await resolver.resolve("api.example", 80) == ("192.0.2.1", "2001:db8::1")


async def test_a_name_that_some_give_up_is_still_looked_up_for_the_others(names):
    resolver = Resolver(lookup=names, threads=1)
    first = asyncio.create_task(resolver.resolve("stalled.example", 443))
    one, other = (asyncio.create_task(resolver.resolve("api.example", 443)) for _ in range(2))
    await asyncio.sleep(0)
    one.cancel()
    first.cancel()
    await asyncio.gather(one, first, return_exceptions=True)
    names.stalled.set()

    assert await other == ("192.0.2.1", "2001:db8::1")
