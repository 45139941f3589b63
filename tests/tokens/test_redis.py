"""What the store in Redis promises beyond every store: replicas share it, and no trouble of the server hurts them."""

import asyncio
import gc
import json
import subprocess
from dataclasses import replace
from itertools import pairwise

import pytest
import trustme
import uvloop
from structlog.testing import capture_logs

from proxy.clock import SystemClock
from proxy.definitions.models import Tls
from proxy.outbound.tls import client_context
from proxy.secret import Secret
from proxy.tokens.store.redis_names import GIVE_BACK, PROLONG, SAVE
from proxy.tokens.store.redis_pauses import USUAL
from proxy.tokens.stored import Stored, StoreUnavailable
from tests.chaos.relay import Cut, Relay
from tests.support.deadline import awaiting, eventually
from tests.support.redis_server import RedisServer, ScriptedRedis, redis_server
from tests.tokens.redis_store import K1, QUICK, servers
from tests.tokens.test_redis_names import VERSIONS
from tests.tokens.test_stores import GRANT, K2, NEXT, OTHERS, TOKEN, stored

pytestmark = pytest.mark.needs("redis-server")

KEY = "iclient-proxy:7:default,3:crm,5:grant,"
TURN = "iclient-proxy:7:default,3:crm,4:turn,"
NEVER_SETTLED = replace(QUICK, settling=600.0)
# The life of a turn in a test that waits for its end, in seconds.
SHORT = 0.5


@pytest.fixture
async def server():
    async with redis_server() as server:
        yield server


@pytest.fixture
async def process(server):
    async with servers(server) as process:
        yield process


class Replica:
    """A process that has begun: its store of the connection `crm`, and what it heard since it began."""

    def __init__(self, grants):
        self.grants = grants
        self.store = stored(grants)
        self.heard = []

    async def begin(self):
        await self.grants.start(self.heard.append)
        await eventually("the first hearing", lambda: self.heard == ["crm"] and self.grants.available)
        self.heard.clear()
        return self


@pytest.fixture
async def replicas(process):
    return [await Replica(process()).begin() for _ in range(2)]


async def refused(store, version=7):
    """Ask for each operation once; return those that the store could not do."""
    failed = []
    for name in ("load", "save", "turn"):
        try:
            async with awaiting(f"an end of {name}", 5):
                if name == "turn":
                    async with store.turn():
                        pass
                else:
                    await (store.load() if name == "load" else store.save(Stored(version, NEXT)))
        except StoreUnavailable:
            failed.append(name)
    return failed


def outcomes(logs):
    return [line["outcome"] for line in logs if line["event"] == "store"]


# ------------------------------------------------------------------------------------------------ what lies in Redis


async def test_nothing_of_a_grant_is_readable(server, process):
    await stored(process(namespace="blau")).save(Stored(1, GRANT, TOKEN))

    assert await server.keys() == ["iclient-proxy:4:blau,3:crm,5:grant,"]
    held = b" ".join(await server.command("HGETALL", "iclient-proxy:4:blau,3:crm,5:grant,"))
    assert b"canary" not in held
    assert b"example" not in held


@pytest.mark.parametrize(("written", "version"), VERSIONS[1:])
async def test_what_is_no_version_is_none_for_the_script_either(written, version, server, process):
    await server.command("HSET", KEY, "version", written)
    store = stored(process())

    assert (await store.load()).version == version
    assert await store.save(Stored(version, GRANT)) is False
    assert await store.save(Stored(version + 1, GRANT)) is True


async def test_namespaces_share_nothing(process):
    one, other = stored(process(namespace="a")), stored(process(namespace="b"))
    await one.save(Stored(1, GRANT))

    assert await other.load() == Stored()
    async with awaiting("both turns"), one.turn(), other.turn():
        assert await other.save(Stored(1, NEXT))
    assert (await one.load()).grant == GRANT


@pytest.mark.case("R-385")
@pytest.mark.parametrize(
    "harm", ["swapped", "of another namespace", "tampered", "truncated", "emptied", "garbage", "older", "wrong key"]
)
async def test_a_record_that_does_not_open_is_a_miss_that_is_counted(harm, server, process):
    await stored(process(), "erp").save(Stored(2, NEXT))
    await stored(process(namespace="b")).save(Stored(2, NEXT))
    await stored(process()).save(Stored(1, NEXT))
    older = await server.command("HGET", KEY, "record")
    await stored(process()).save(Stored(2, GRANT))
    data = await server.command("HGET", KEY, "record")
    flipped = json.loads(data)
    flipped["grant"] = flipped["grant"][:40] + ("A" if flipped["grant"][40] != "A" else "B") + flipped["grant"][41:]
    changed = {
        "swapped": await server.command("HGET", KEY.replace("3:crm", "3:erp"), "record"),
        "of another namespace": await server.command("HGET", KEY.replace("7:default", "1:b"), "record"),
        "tampered": json.dumps(flipped),
        "truncated": data[: len(data) // 2],
        "emptied": b"",
        "garbage": b"[\xff",
        "older": older,
    }.get(harm, data)
    await server.command("HSET", KEY, "record", changed)

    grants = process(K2 if harm == "wrong key" else K1)
    store = stored(grants)
    with capture_logs() as logs:
        assert await store.load() == Stored(2)
        assert await store.load() == Stored(2)
    assert outcomes(logs) == ["available", "undecryptable"]
    assert grants.errors["open"] == 2
    assert await store.save(Stored(3, NEXT))
    assert await store.load() == Stored(3, NEXT)
    assert await server.command("HGET", KEY, "previous") == (
        changed if isinstance(changed, bytes) else changed.encode()
    )


async def test_who_knows_what_a_broken_record_was_goes_on_with_it_and_repairs_it(server, process):
    store = stored(process())
    await store.save(Stored(1, GRANT))
    await server.command("HSET", KEY, "record", "broken")

    assert await store.load() == Stored(1, GRANT)
    assert await store.save(Stored(2, NEXT))
    assert await stored(process()).load() == Stored(2, NEXT)


async def test_what_is_held_is_what_was_saved_or_loaded_last_by_our_clock_and_with_our_fingerprint(process):
    one, other = process(clock=OffClock(3600)), process()
    store, theirs = stored(one), stored(other)
    assert store.held is None
    await store.load()
    assert store.held is None

    await store.save(Stored(1, GRANT, TOKEN))
    assert replace(store.held, token=None) == Stored(1, GRANT)
    assert store.held.token.asked_at == pytest.approx(TOKEN.asked_at, abs=5)
    assert stored(one, username="ann").held is None
    assert stored(one, "erp").held is None
    assert theirs.held is None
    found = await theirs.load()
    assert theirs.held == found
    assert found.token.asked_at == pytest.approx(TOKEN.asked_at - 3600, abs=5)


async def test_what_was_refused_is_not_held(process):
    late, first = stored(process()), stored(process())
    await first.save(Stored(2, GRANT))

    assert await late.save(Stored(1, NEXT)) is False
    assert late.held is None
    assert await first.save(Stored(1, NEXT)) is False
    assert first.held == Stored(2, GRANT)


@pytest.mark.parametrize(("digits", "good"), [(15, True), (16, False)])
async def test_a_time_of_too_many_digits_is_none(digits, good, process):
    answer = b"*5\r\n$%d\r\n%s\r\n$1\r\n0\r\n$-1\r\n$-1\r\n$-1\r\n" % (digits, b"1" * digits)
    async with ScriptedRedis(answer).serving() as scripted:
        store = stored(process(url=scripted.url))
        if good:
            assert await store.load() == Stored()
        else:
            with pytest.raises(StoreUnavailable, match="not one of Redis"):
                await store.load()


@OTHERS
async def test_a_replica_with_other_definitions_leaves_the_grant_of_the_others_in_reach(process, settings):
    await stored(process()).save(Stored(1, GRANT))
    await stored(process(), **settings).save(Stored(2, NEXT))

    assert await stored(process()).load() == Stored(2, GRANT)


async def test_what_no_definitions_but_ours_go_on_with_is_not_lost_when_others_push_it_out(process):
    store = stored(process())
    await store.save(Stored(1, GRANT))
    for version, user in ((2, "b"), (3, "c")):  # each puts aside who was there before
        assert await stored(process(), username=user).save(Stored(version, NEXT))

    assert await store.load() == Stored(3, GRANT)
    assert await store.save(Stored(4, GRANT))
    assert await stored(process()).load() == Stored(4, GRANT)


@pytest.mark.case("R-385")
@pytest.mark.parametrize(
    "written",
    [("SET", KEY, "text"), ("RPUSH", KEY, "a")],
    ids=lambda written: written[0],
)
async def test_what_is_not_ours_under_our_name_is_a_miss_that_the_next_save_repairs(written, server, process):
    await server.command(*written)
    grants = process()
    store = stored(grants)

    assert (await store.load()).grant is None
    assert grants.available
    assert await store.save(Stored(2, GRANT))
    assert await stored(process()).load() == Stored(2, GRANT)


async def test_a_key_that_is_not_ours_does_not_make_the_server_look_away_for_all(server, replicas):
    one, other = replicas
    await one.store.save(Stored(1, GRANT))
    await server.command("DEL", KEY)
    await server.command("SET", KEY, "text")
    await server.command("RPUSH", TURN, "text")

    with capture_logs() as logs:
        assert await other.store.load() == Stored()
        assert await one.store.load() == Stored(1, GRANT)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2), other.store.turn():
                pass
    assert (one.grants.available, other.grants.available) == (True, True)
    assert outcomes(logs) == ["undecryptable", "undecryptable", "written_back"]


@pytest.mark.parametrize("answer", [b"*1\r\n" * 5000, b":7\r\n", b"+OK\r\n", b"*5\r\n" + b"$1\r\nx\r\n" * 5])
async def test_a_reply_that_is_none_of_redis_is_no_mistake_of_ours(answer, process):
    async with ScriptedRedis(answer).serving() as scripted:
        with pytest.raises(StoreUnavailable):
            await stored(process(url=scripted.url)).load()


# ---------------------------------------------------------------------------------------------------------- replicas


async def test_a_save_is_heard_by_the_other_replicas_only(replicas):
    one, other = replicas
    await one.store.save(Stored(1, GRANT, TOKEN))

    await eventually("the other one's hearing", lambda: other.heard == ["crm"])
    assert await other.store.load() == Stored(1, GRANT, TOKEN)
    await other.store.save(Stored(2, NEXT))
    await eventually("the first one's hearing", lambda: one.heard == ["crm"])


async def test_an_intent_is_not_published(replicas):
    one, other = replicas
    await one.store.save(Stored(1, GRANT, None, "digest"))
    await one.store.save(Stored(2, GRANT, TOKEN))

    await eventually("the hearing", lambda: bool(other.heard))
    assert other.heard == ["crm"]


async def test_what_others_publish_on_the_channel_is_of_no_interest(server, replicas):
    channel = "iclient-proxy:7:default,8:messages,"
    for message in (b"\xff\xfe", b"a saved nobody", b"a b c d", b"x moved crm"):
        assert await server.command("PUBLISH", channel, message) == 2
    await server.command("PUBLISH", channel, "x saved crm")

    for replica in replicas:
        await eventually("the one that counts", lambda replica=replica: bool(replica.heard))
        assert replica.heard == ["crm"]


async def test_who_floods_the_channel_does_not_hold_up_the_loop(server, replicas):
    [listening, _] = replicas
    channel = "iclient-proxy:7:default,8:messages,"
    most = seen = 0
    flood = asyncio.create_task(server.commands(*[("PUBLISH", channel, "forged saved crm")] * 5000), name="flood")
    while len(listening.heard) < 2000:
        await asyncio.sleep(0)
        most, seen = max(most, len(listening.heard) - seen), len(listening.heard)
    flood.cancel()
    await asyncio.gather(flood, return_exceptions=True)

    assert 0 < most <= 100


async def test_after_a_reconnect_everything_is_heard_once(server, replicas):
    for replica in replicas:
        stored(replica.grants, "erp")
    await server.cut_streams()

    for replica in replicas:
        await eventually("everything", lambda replica=replica: sorted(replica.heard) == ["crm", "erp"])
    await replicas[0].store.save(Stored(1, GRANT))
    await eventually("what comes then", lambda: len(replicas[1].heard) > 2)
    assert replicas[1].heard[2:] == ["crm"]


async def test_one_turn_at_a_time(replicas):
    one, other = replicas
    async with one.store.turn():
        waiting = asyncio.create_task(_in_turn(other.store))
        assert not (await asyncio.wait((waiting,), timeout=4 * QUICK.look))[0]
    async with awaiting("the other one's turn"):
        await waiting


async def test_a_turn_that_is_given_back_is_taken_before_anybody_looks_again(process):
    one, other = [await Replica(process(pauses=USUAL)).begin() for _ in range(2)]
    async with awaiting("eight turns", 6):  # by looking it would take eight seconds
        for first, second in [(one, other), (other, one)] * 4:
            async with first.store.turn():
                waiting = asyncio.create_task(_in_turn(second.store))
                await asyncio.wait((waiting,), timeout=0.05)
                assert not waiting.done()
            await waiting


@pytest.mark.case("R-371", "R-377")
async def test_a_turn_goes_to_nobody_before_what_was_got_in_it_is_saved(server, process):
    """Else the next one would use the refresh token whose successor only the first one knows."""
    other = await Replica(process()).begin()
    async with Relay(server.path) as relay:
        one = await Replica(process(url=relay.url, lease=600)).begin()
        async with awaiting("both turns", 15):
            async with one.store.turn():
                relay.lose(Cut.COMMANDS)
                with pytest.raises(StoreUnavailable):
                    await one.store.save(Stored(1, GRANT))
                relay.lose(Cut.NOTHING)
            async with other.store.turn():
                assert await other.store.load() == Stored(1, GRANT)
        await one.grants.close()


async def _in_turn(store):
    async with store.turn():
        pass


async def test_what_is_asked_for_a_turn_bears_its_nonce_and_how_long_it_lives(process):
    async with ScriptedRedis(b"+OK\r\n").serving() as scripted, stored(process(url=scripted.url, lease=1.0)).turn():
        await eventually("a longer life", lambda: len(scripted.commands) > 1)
    taken, prolonged, given_back = scripted.commands[0], scripted.commands[1], scripted.commands[-1]

    nonce = taken[2]
    assert len(bytes.fromhex(nonce.decode())) == 16
    assert taken == [b"SET", TURN.encode(), nonce, b"NX", b"PX", b"1000"]
    assert prolonged == [b"EVAL", PROLONG.encode(), b"1", TURN.encode(), nonce, b"1000"]
    *beginning, channel, message = given_back
    assert beginning == [b"EVAL", GIVE_BACK.encode(), b"1", TURN.encode(), nonce]
    assert channel == b"iclient-proxy:7:default,8:messages,"
    sender, kind, name = message.split(b" ")
    assert (len(bytes.fromhex(sender.decode())), kind, name) == (8, b"free", b"crm")


async def test_who_waits_for_long_leaves_nothing_behind_each_time_he_looks(server, process):
    await server.command("SET", TURN, "somebody")
    waiting = asyncio.create_task(_in_turn(stored(process(pauses=replace(QUICK, look=0.001)))), name="waits")
    await asyncio.wait((waiting,), timeout=0.2)
    gc.collect()
    futures = sum(type(each) is asyncio.Future for each in gc.get_objects())
    await asyncio.wait((waiting,), timeout=0.5)
    gc.collect()

    assert sum(type(each) is asyncio.Future for each in gc.get_objects()) - futures < 10
    waiting.cancel()
    await asyncio.wait((waiting,))


async def test_a_turn_that_was_freed_while_nobody_listened_is_looked_for_after_the_reconnect(server, process):
    replica = await Replica(process(pauses=replace(QUICK, look=600.0))).begin()
    await server.command("SET", TURN, "somebody")
    waiting = asyncio.create_task(_in_turn(replica.store), name="waits")
    assert not (await asyncio.wait((waiting,), timeout=0.1))[0]
    await server.command("DEL", TURN)
    assert not (await asyncio.wait((waiting,), timeout=0.1))[0]
    await server.cut_streams()

    async with awaiting("the turn"):
        await waiting


async def test_two_messages_at_once_wake_whoever_waits_once(server, process):
    grants = process(pauses=replace(QUICK, look=600.0))
    await server.command("SET", TURN, "somebody")
    waiting = asyncio.create_task(_in_turn(stored(grants)), name="waits")
    assert not (await asyncio.wait((waiting,), timeout=0.1))[0]
    await server.command("DEL", TURN)
    for name in ("erp", "crm", "crm"):
        grants.turns.look(name)

    async with awaiting("the turn"):
        await waiting


async def test_a_turn_is_prolonged_as_long_as_it_is_held(server, process):
    grants = process(lease=SHORT)
    async with stored(grants).turn():
        nonce = await server.command("GET", TURN)
        ages = []

        async def is_prolonged():
            ages.append(await server.command("PTTL", TURN))
            return sum(later > earlier for earlier, later in pairwise(ages)) > 1

        await eventually("a longer life, twice", is_prolonged)
        assert await server.command("GET", TURN) == nonce
    assert await server.keys() == []


async def test_the_turn_of_a_process_that_is_gone_ends_by_itself(server, process):
    await server.command("SET", TURN, "somebody", "PX", 300)

    async with awaiting("the turn"), stored(process()).turn():
        assert await server.command("GET", TURN) != b"somebody"


@pytest.mark.case("R-380")
async def test_who_gives_back_late_does_not_take_the_turn_of_another(server, process):
    async with stored(process()).turn():
        await server.command("SET", TURN, "another")

    assert await server.command("GET", TURN) == b"another"


@pytest.mark.case("R-380")
async def test_who_lost_the_turn_does_not_prolong_that_of_another(server, process):
    grants = process(lease=SHORT)
    async with stored(grants).turn():
        await server.command("SET", TURN, "another", "PX", 300)

        async def has_ended():
            return await server.command("EXISTS", TURN) == 0

        await eventually("its end", has_ended)
    assert await server.keys() == []


@pytest.mark.case("R-377")
async def test_what_is_saved_after_the_turn_was_lost_is_refused(server, process):
    late, other = stored(process()), stored(process())
    await late.save(Stored(1, GRANT))
    async with late.turn():
        assert (await late.load()).version == 1
        await server.command("DEL", TURN)  # as if it stood still for longer than a turn lives
        async with other.turn():
            await other.save(Stored((await other.load()).version + 1, NEXT))

        assert await late.save(Stored(2, GRANT)) is False
        assert await late.load() == Stored(2, NEXT)


async def test_a_waiter_that_leaves_takes_nothing_along(process):
    one, other, third = (stored(process()) for _ in range(3))
    async with one.turn():
        waiting = asyncio.create_task(_in_turn(other))
        await asyncio.wait((waiting,), timeout=0.05)
        waiting.cancel()
        await asyncio.wait((waiting,))
    async with awaiting("the third one's turn"), third.turn():
        assert waiting.cancelled()


@pytest.mark.case("R-376")
async def test_of_many_replicas_one_renews_and_all_have_it(process):
    stores = [(await Replica(process()).begin()).store for _ in range(6)]
    await stores[0].save(Stored(1, GRANT))
    renewed = []

    async def renew(store):
        before = await store.load()
        async with store.turn():
            now = await store.load()
            if now.version == before.version:
                renewed.append(store)
                assert await store.save(Stored(now.version + 1, NEXT, TOKEN))

    await asyncio.gather(*map(renew, stores))

    assert len(renewed) == 1
    assert [await store.load() for store in stores] == [Stored(2, NEXT, TOKEN)] * 6


async def test_who_has_just_begun_need_not_wait_for_his_turn_nor_who_saves_one_after_the_other(process):
    replica = await Replica(process(pauses=NEVER_SETTLED)).begin()

    for version in (1, 2, 3):
        async with awaiting("a turn"), replica.store.turn():
            assert await replica.store.save(Stored(version, GRANT))


async def test_after_a_reconnect_nobody_takes_a_turn_before_all_could_tell_what_they_know(server, process):
    replica = await Replica(process(pauses=NEVER_SETTLED)).begin()
    await server.cut_streams()
    await eventually("the reconnect", lambda: replica.heard == ["crm"])

    assert not await _comes(_in_turn(replica.store))


@pytest.mark.parametrize("what", ["load", "turn"])
async def test_who_finds_that_the_server_fell_back_waits_until_all_could_tell_what_they_know(what, server, process):
    store = stored(process(pauses=NEVER_SETTLED))
    await store.save(Stored(1, GRANT))
    old = await server.command("DUMP", KEY)
    await store.save(Stored(2, NEXT, TOKEN))
    await server.command("RESTORE", KEY, 0, old, "REPLACE")

    if what == "load":
        assert not await _comes(store.load())
    else:
        assert await store.save(Stored(3, GRANT))
    assert not await _comes(_in_turn(store))


async def test_all_have_the_whole_time_to_tell_what_they_know(server, process):
    store = stored(process(pauses=replace(QUICK, settling=0.9)))
    await store.save(Stored(2, GRANT))
    await server.command("DEL", KEY)

    assert not await _comes(store.load())
    async with awaiting("what is known"):
        assert await store.load() == Stored(2, GRANT)


async def test_what_is_known_here_and_could_not_be_saved_is_not_waited_for(server, process):
    grants = process(pauses=NEVER_SETTLED)
    store = stored(grants)
    await server.read_only()
    with pytest.raises(StoreUnavailable):
        await store.save(Stored(1, GRANT, TOKEN))
    await server.writable()
    grants.turns.unsettle()

    async with awaiting("what is known"):
        assert await store.load() == Stored(1, GRANT, TOKEN)
    assert await server.command("HGET", KEY, "version") == b"1"


async def _comes(work):
    """Whether it ends within what is long for one command."""
    waiting = asyncio.create_task(work, name="waits")
    done, _ = await asyncio.wait((waiting,), timeout=0.3)
    waiting.cancel()
    await asyncio.wait((waiting,))
    return bool(done)


@pytest.mark.parametrize("what", ["save", "turn"])
async def test_of_a_server_that_takes_no_writes_reads_do_not_make_a_good_one(what, server, process):
    grants = process()
    store = stored(grants)
    await store.load()
    await server.read_only()

    with pytest.raises(StoreUnavailable):
        await (store.save(Stored(1, GRANT)) if what == "save" else _in_turn(store))
    assert not grants.available
    await stored(grants, "erp").load()
    assert not grants.available


async def test_everything_is_heard_in_goes_between_which_others_have_their_turn(server, process):
    replica = await Replica(process()).begin()
    for number in range(99):
        stored(replica.grants, f"c{number}")
    await server.cut_streams()
    most = seen = 0
    async with awaiting("everything"):
        while len(replica.heard) < 100:
            await asyncio.sleep(0)
            most, seen = max(most, len(replica.heard) - seen), len(replica.heard)

    assert most == 25


async def test_to_prolong_a_turn_and_to_give_it_back_do_not_make_up_for_a_write_that_failed(process):
    async with ScriptedRedis(b"+OK\r\n").serving() as scripted:
        grants = process(url=scripted.url, lease=0.6)
        async with stored(grants).turn():
            scripted.answer = b"-LOADING not yet\r\n"
            with pytest.raises(StoreUnavailable):
                await stored(grants, "erp").save(Stored(1, GRANT))
            await eventually("a turn that is not prolonged", lambda: grants.errors["turn"] > 0)
            scripted.answer = b":1\r\n"
            asked = len(scripted.commands)
            await eventually("one that is", lambda: len(scripted.commands) > asked + 1)
            assert not grants.available

        assert not grants.available


async def test_who_has_a_turn_or_waits_for_one_asks_no_more_often_than_needed(process):
    seldom = replace(QUICK, look=600.0)
    async with (
        ScriptedRedis(b"+OK\r\n").serving() as scripted,
        stored(process(url=scripted.url, lease=600, pauses=seldom)).turn(),
    ):
        await asyncio.wait((asyncio.get_running_loop().create_future(),), timeout=0.1)
        assert len(scripted.commands) == 1
    async with ScriptedRedis(b"$-1\r\n").serving() as scripted:
        assert not await _comes(_in_turn(stored(process(url=scripted.url, pauses=seldom))))
        assert len(scripted.commands) == 2  # the last one gives back what may have been got


async def test_nothing_works_on_when_a_turn_is_over(process):
    async with stored(process(lease=60)).turn():
        assert "turn of crm" in {task.get_name() for task in asyncio.all_tasks()}
    await asyncio.sleep(0)

    assert "turn of crm" not in {task.get_name() for task in asyncio.all_tasks()}


@pytest.mark.parametrize("intent", ["", "digest"])
async def test_a_save_bears_its_version_and_an_intent_follows_at_once_and_is_not_told(intent, process):
    async with ScriptedRedis(b":7\r\n").serving() as scripted:
        assert await stored(process(url=scripted.url)).save(Stored(7, GRANT, None, intent))
    [[*beginning, version, mark, data, aside, channel, message, follow]] = scripted.commands

    assert beginning == [b"EVAL", SAVE.encode(), b"1", KEY.encode()]
    assert (version, len(mark), aside) == (b"7", 16, b"0")
    assert set(json.loads(data)) == {"schema", "grant"}
    assert (channel, follow) == ((b"", b"1") if intent else (b"iclient-proxy:7:default,8:messages,", b"0"))
    assert message.split(b" ")[1:] == [b"saved", b"crm"]


# ------------------------------------------------------------------------------------------------- a server that fails


@pytest.mark.case("R-383")
@pytest.mark.parametrize(
    ("answer", "name"),
    [
        (b"-READONLY You can't write against a read only replica.\r\n", "read only"),
        (b"-OOM command not allowed when used memory > 'maxmemory'.\r\n", "full"),
        (b"-NOAUTH Authentication required.\r\n", "no auth"),
        (b"-NOPERM this user has no permissions\r\n", "no permission"),
        (b"-MOVED 3999 127.0.0.1:6381\r\n", "moved"),
        (b"-MOVED\r\n", "moved nowhere"),
        (b"-LOADING Redis is loading the dataset in memory\r\n", "loading"),
        (b"-MASTERDOWN Link with MASTER is down\r\n", "no master"),
        (b"-CLUSTERDOWN The cluster is down\r\n", "no cluster"),
        (b"-BUSY Redis is busy running a script.\r\n", "busy"),
        (b"-ERR canary-of-the-server\r\n", "error"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not redis"),
        (b":banana\r\n", "no number"),
        (b"$99999\r\nshort", "cut"),
        (b"", "silence"),
        (None, "reset"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_whatever_a_server_answers_it_is_unavailable_and_that_is_counted(answer, name, process):
    async with ScriptedRedis(answer).serving() as scripted:
        grants = process(url=scripted.url)
        with capture_logs() as logs:
            assert await refused(stored(grants)) == ["load", "save", "turn"]

    assert (grants.errors["load"], grants.errors["save"]) == (1, 1)
    assert grants.errors["turn"] >= 1
    assert not grants.available
    assert outcomes(logs) == ["unavailable"]
    assert "canary" not in str(logs)


@pytest.mark.case("R-383")
async def test_after_five_failures_nothing_but_a_probe_reaches_the_server(process):
    async with ScriptedRedis(b"-LOADING not yet\r\n").serving() as scripted:
        grants = process(url=scripted.url)
        store = stored(grants)
        for _ in range(50):
            with pytest.raises(StoreUnavailable):
                await store.load()
        assert len(scripted.commands) == 5
        assert grants.errors["load"] == 50

        await grants.start(lambda _: None)
        keys = [b"iclient-proxy:7:default,5:probe,"]
        await eventually("two probes", lambda: [words[3:4] for words in scripted.commands].count(keys) >= 2)
        with pytest.raises(StoreUnavailable):
            await store.load()
        evaluated = [words for words in scripted.commands[5:] if words[0] == b"EVAL"]
        assert all(words[3:4] == keys for words in evaluated)


@pytest.mark.case("R-383")
@pytest.mark.parametrize("trouble", ["killed", "frozen", "paused", "full", "read only", "password"])
async def test_a_server_in_trouble_is_found_again_without_a_restart(trouble, server, process):
    replica = await Replica(process(url=server.tcp_url)).begin()
    await replica.store.save(Stored(1, GRANT))

    with capture_logs() as logs:
        match trouble:
            case "killed":
                await server.kill()
                assert "load" in await refused(replica.store)
                await server.start()
            case "frozen":
                async with server.frozen():
                    assert await refused(replica.store) == ["load", "save", "turn"]
            case "paused":
                await server.command("CLIENT", "PAUSE", 3000, "ALL")
                assert await refused(replica.store) == ["load", "save", "turn"]
            case "full":
                await server.configure("maxmemory", 1)
                assert await refused(replica.store) == ["save", "turn"]
                await server.configure("maxmemory", 0)
            case "read only":
                await server.read_only()
                assert await refused(replica.store) == ["save", "turn"]
                await server.writable()
            case "password":
                await server.configure("requirepass", "pw")
                await server.commands(("AUTH", "pw"), ("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"))
                assert await refused(replica.store) == ["load", "save", "turn"]
                await server.commands(("AUTH", "pw"), ("CONFIG", "SET", "requirepass", ""))
        await eventually("the server's return, and everything heard", lambda: "crm" in replica.heard)
        assert replica.grants.available

    assert await replica.store.load() == Stored(7, NEXT)  # what could not be saved then is saved now
    assert outcomes(logs).count("unavailable") == 1
    assert outcomes(logs).count("available") == 1


@pytest.mark.case("R-383")
async def test_streams_that_were_cut_while_idle_cost_no_failure(server, process):
    grants = process(url=server.tcp_url)
    store = stored(grants)
    await asyncio.gather(*(store.load() for _ in range(8)))
    await server.cut_streams()

    assert await store.load() == Stored()
    assert sum(grants.errors.values()) == 0


async def test_a_thousand_connections_at_once_do_not_make_the_server_look_slow(process):
    grants = process()
    loaded = await asyncio.gather(*(stored(grants, f"c{number}").load() for number in range(1000)))

    assert loaded == [Stored()] * 1000
    assert sum(grants.errors.values()) == 0


# --------------------------------------------------------------------------------------------------- what it has lost


@pytest.mark.case("R-384")
async def test_a_server_that_fell_back_gets_the_newer_grant_again(server, process):
    store = stored(process())
    await store.save(Stored(1, GRANT))
    old = await server.command("DUMP", KEY)
    await store.save(Stored(2, NEXT, TOKEN))
    await server.command("RESTORE", KEY, 0, old, "REPLACE")

    assert await store.load() == Stored(2, NEXT, TOKEN)
    assert await stored(process()).load() == Stored(2, NEXT, TOKEN)


@pytest.mark.case("R-384")
async def test_a_save_onto_a_server_that_fell_back_is_kept(server, process):
    store = stored(process())
    for version in (1, 2, 3):
        await store.save(Stored(version, GRANT))
    await server.command("DEL", KEY)

    assert await store.save(Stored(4, NEXT))
    assert await stored(process()).load() == Stored(4, NEXT)


@pytest.mark.case("R-384")
async def test_an_empty_server_in_its_place_gets_everything_back(server, replicas):
    one, other = replicas
    await one.store.save(Stored(1, GRANT, TOKEN))
    await eventually("the hearing", lambda: other.heard == ["crm"])
    await other.store.load()
    await server.replace()

    await eventually("the hearing of everything", lambda: len(one.heard) > 0 and len(other.heard) > 1)
    assert await asyncio.gather(one.store.load(), other.store.load()) == [Stored(1, GRANT, TOKEN)] * 2
    assert (await server.command("HGET", KEY, "version")) == b"1"


async def test_who_is_about_to_use_a_refresh_token_is_told_that_the_server_lost_something(server, process):
    """Nothing is announced on what it has left: another replica may know the successor."""
    one, other = stored(process()), stored(process())
    await one.save(Stored(1, GRANT))
    await other.load()
    await one.save(Stored(2, NEXT, TOKEN))
    await server.replace()

    assert await other.save(Stored(2, GRANT, None, "digest")) is False
    found = await asyncio.gather(other.load(), one.load())
    assert found == [Stored(2, NEXT, TOKEN)] * 2


async def test_what_others_saved_meanwhile_is_not_overwritten_by_what_is_older(process):
    one, other = stored(process()), stored(process())
    await one.save(Stored(1, GRANT))
    await other.save(Stored(2, NEXT))

    assert await one.load() == Stored(2, NEXT)


async def test_what_could_not_be_saved_is_saved_when_the_server_is_back_though_nobody_asks(server, process):
    replica = await Replica(process()).begin()
    await server.kill()
    with pytest.raises(StoreUnavailable):
        await replica.store.save(Stored(1, GRANT))
    assert replica.grants.unsaved("crm")
    await server.start()

    await eventually("the save", lambda: not replica.grants.unsaved("crm"))
    assert await stored(process()).load() == Stored(1, GRANT)


async def test_what_is_not_saved_yet_is_saved_at_the_end(server, process):
    replica = await Replica(process()).begin()
    await server.read_only()
    with pytest.raises(StoreUnavailable):
        await replica.store.save(Stored(1, GRANT))
    await server.writable()
    await eventually("the server's return", lambda: replica.grants.available)
    await replica.grants.close()

    assert await stored(process()).load() == Stored(1, GRANT)


async def test_at_the_end_a_server_that_is_away_is_not_asked_again(process):
    async with ScriptedRedis(b"-LOADING not yet\r\n").serving() as scripted:
        grants = process(url=scripted.url)
        with pytest.raises(StoreUnavailable):
            await stored(grants).save(Stored(1, GRANT))
        asked = len(scripted.commands)
        with capture_logs() as logs:
            await grants.close()

        assert len(scripted.commands) == asked
    assert [(line["event"], line["connection"], line["outcome"]) for line in logs] == [("store", "crm", "not_saved")]


@pytest.mark.parametrize("version", [2, 3])
async def test_what_could_not_be_saved_and_is_overtaken_is_let_go_at_the_end(version, server, process):
    one, other = process(), process()
    await stored(one).save(Stored(1, GRANT))
    await server.read_only()
    with pytest.raises(StoreUnavailable):
        await stored(one).save(Stored(2, GRANT))
    await server.writable()
    assert await stored(other).save(Stored(version, NEXT))
    assert await stored(one, "erp").save(Stored(1, GRANT))  # so it is known to be back
    with capture_logs() as logs:
        await one.close()

    assert logs == []
    assert not one.unsaved("crm")
    assert await stored(other).load() == Stored(version, NEXT)


async def test_who_may_not_read_any_more_is_told_and_the_link_goes_on(server, process):
    replica = await Replica(process()).begin()
    await replica.store.save(Stored(1, GRANT))
    with capture_logs() as logs:
        await server.command("ACL", "SETUSER", "default", "-hget")
        await server.cut_streams()
        await eventually("a refusal", lambda: replica.grants.errors["load"] > 0)
        await server.command("ACL", "SETUSER", "default", "+hget")
        await eventually("the hearing", lambda: "crm" in replica.heard)

    assert "store_link_failed" not in {line["event"] for line in logs}


async def test_of_two_who_went_on_without_the_server_the_further_one_wins(server, process):
    one, other = stored(process()), stored(process())
    await one.save(Stored(1, GRANT))
    await other.load()
    async with server.frozen():
        for store, versions in ((one, (2,)), (other, (2, 3))):
            for version in versions:
                with pytest.raises(StoreUnavailable):
                    await store.save(Stored(version, NEXT if store is other else GRANT))

    assert {(await store.load()).version for store in (one, other, one)} <= {2, 3}
    assert await stored(process()).load() == Stored(3, NEXT)


async def test_a_server_that_comes_back_empty_gets_back_what_it_had_though_nobody_asks(server, process):
    replica = await Replica(process()).begin()
    await replica.store.save(Stored(1, GRANT))
    await server.replace()

    async def has_it():
        return await server.command("HGET", KEY, "version") == b"1"

    await eventually("the grant in the new one", has_it)
    assert await stored(process()).load() == Stored(1, GRANT)


async def test_after_an_outage_nobody_takes_a_turn_before_all_could_tell_what_they_know(server, process):
    """The one who alone knows the newest grant comes last, and is heard all the same."""
    early, late = Replica(process()), Replica(process())
    for replica in (early, late):
        await replica.begin()
    await early.store.save(Stored(1, GRANT))
    await late.store.load()
    await server.kill()
    with pytest.raises(StoreUnavailable):
        await late.store.save(Stored(2, NEXT))
    await server.start()
    await eventually("the early one's return", lambda: early.grants.available)

    async with awaiting("the turn"), early.store.turn():
        assert await early.store.load() == Stored(2, NEXT)


async def test_a_turn_that_could_not_be_given_back_is_given_back_when_the_server_returns(server, process):
    replica = await Replica(process(lease=60)).begin()
    async with replica.store.turn():
        await server.command("CLIENT", "PAUSE", 800, "ALL")
    await eventually("the return", lambda: replica.grants.available)

    async def is_free():
        return await server.command("EXISTS", TURN) == 0

    await eventually("the turn that is free", is_free)
    async with awaiting("another turn"), stored(process()).turn():
        assert not replica.grants.unsaved("crm")


@pytest.mark.parametrize("off", [-86400, -3600, 3600, 86400])
async def test_replicas_whose_clocks_differ_take_a_token_for_as_old_as_it_is(process, off):
    wrong, right = OffClock(off), SystemClock()
    one, other = stored(process(clock=wrong)), stored(process(clock=right))
    await one.load()  # which tells the time
    await one.save(Stored(1, GRANT, replace(TOKEN, asked_at=wrong.wall() - 60)))

    found = await other.load()
    assert right.wall() - found.token.asked_at == pytest.approx(60, abs=5)
    assert wrong.wall() - (await one.load()).token.asked_at == pytest.approx(60, abs=5)


class OffClock(SystemClock):
    """A clock whose wall is off by so many seconds."""

    def __init__(self, seconds):
        self.wall = lambda: SystemClock.wall() + seconds


def test_an_answer_that_came_while_the_process_stood_still_is_not_late():
    """Libuv looks at timers before it looks at sockets."""

    async def main():
        async with redis_server() as server, servers(server) as process:
            grants = process()
            store = stored(grants)
            await store.load()
            async with server.frozen():
                loading = asyncio.create_task(store.load())
                for _ in range(20):
                    await asyncio.sleep(0)  # the command is sent
                meanwhile = f"kill -CONT {server.pid}; sleep 0.8"  # nothing of this process runs
                subprocess.run(["/bin/sh", "-c", meanwhile], check=True)  # noqa: ASYNC221
                assert await loading == Stored()
            assert sum(grants.errors.values()) == 0

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


# ------------------------------------------------------------------------------------------------------------- start


@pytest.mark.case("R-381")
@pytest.mark.parametrize("required", [False, True])
async def test_a_server_that_is_away_at_the_start_is_waited_for_only_where_it_is_required(required, process):
    server = RedisServer()
    try:
        with capture_logs() as logs:
            grants = process(url=server.url, required=required)
            await grants.start(lambda _: None)
            await eventually("a failure", lambda: grants.errors["probe"] > 1)
            assert grants.ready is not required
            assert outcomes(logs) == ["unavailable"]
            await server.start()
            await eventually("the server", lambda: grants.available)
        assert grants.ready
        assert outcomes(logs) == ["unavailable", "available"]
    finally:
        await server.close()


async def test_it_stays_ready_when_the_server_goes(server, process):
    replica = await Replica(process(required=True)).begin()
    await server.kill()
    await eventually("its absence", lambda: not replica.grants.available)

    assert replica.grants.ready


# ------------------------------------------------------------------------------------------------- who is let in, TLS


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
async def secured(authority, tmp_path):
    """A server that speaks TLS, wants a client certificate, and knows a user who may do what the store needs."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate = authority.issue_cert("localhost", "cache.internal")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    with (tmp_path / "cert.pem").open("wb") as file:
        file.writelines(blob.bytes() for blob in certificate.cert_chain_pems)
    tls = {
        "tls-cert-file": str(tmp_path / "cert.pem"),
        "tls-key-file": str(tmp_path / "key.pem"),
        "tls-ca-cert-file": str(tmp_path / "ca.pem"),
        "tls-auth-clients": "yes",
    }
    async with redis_server(tls=tls) as server:
        rules = [
            "+hget",
            "+time",
            "+auth",
            "+select",
            "+hmget",
            "+set",
            "+get",
            "+pexpire",
            "+del",
            "+hset",
            "+eval",
            "+publish",
            "+subscribe",
            "+ping",
        ]
        user = ("on", ">pw", "~iclient-proxy:*", "&iclient-proxy:*", "-@all", *rules)
        await server.command("ACL", "SETUSER", "proxy", *user)
        yield server


def client_tls(authority, **settings):
    certificate = authority.issue_cert("client")
    chain = "".join(blob.bytes().decode() for blob in certificate.cert_chain_pems)
    key = Secret(certificate.private_key_pem.bytes().decode())
    return Tls(ca=authority.cert_pem.bytes().decode(), client_cert=chain, client_key=key, **settings)


def by_tls(process, secured, tls, user="proxy:pw@"):
    url = secured.tcp_url.replace("rediss://", f"rediss://{user}")
    return process(url=url, tls=tls, context=client_context(tls, alpn=()))


async def test_by_tls_with_a_client_certificate_a_user_with_few_rights_can_do_all(secured, authority, process):
    replicas = [await Replica(by_tls(process, secured, client_tls(authority))).begin() for _ in range(2)]
    one, other = replicas

    async with one.store.turn():
        assert await one.store.save(Stored(1, GRANT, TOKEN))
    await eventually("the hearing", lambda: other.heard == ["crm"])
    assert await other.store.load() == Stored(1, GRANT, TOKEN)
    assert sum(one.grants.errors.values()) + sum(other.grants.errors.values()) == 0


async def test_the_certificate_may_be_for_another_name_if_that_is_written(secured, authority, process):
    for name, failed in (("cache.internal", []), ("elsewhere.internal", ["load", "save", "turn"])):
        grants = by_tls(process, secured, client_tls(authority, server_name=name))

        assert await refused(stored(grants)) == failed


async def test_a_server_that_nobody_vouches_for_gets_no_password(secured, process):
    stranger = trustme.CA()

    assert await refused(stored(by_tls(process, secured, client_tls(stranger)))) == ["load", "save", "turn"]
    assert not [line for line in await secured.command("ACL", "LOG") if b"proxy" in line]


@pytest.mark.parametrize("user", ["proxy:other@", ":pw@", ""])
async def test_without_the_right_password_the_store_is_unavailable(secured, authority, process, user):
    await secured.command("ACL", "SETUSER", "default", ">default-password")
    grants = by_tls(process, secured, client_tls(authority), user)

    with capture_logs() as logs:
        assert await refused(stored(grants)) == ["load", "save", "turn"]
    assert outcomes(logs) == ["unavailable"]


async def test_another_database_is_another_store(server, process):
    await stored(process(url=f"{server.url}?db=3")).save(Stored(1, GRANT))

    assert await stored(process()).load() == Stored()
    assert await stored(process(url=f"{server.tcp_url}/3")).load() == Stored(1, GRANT)


async def test_who_may_not_listen_is_told_and_shares_all_the_same(server, process):
    rules = ["+time", "+hmget", "+hget", "+set", "+get", "+pexpire", "+del", "+hset", "+eval", "+publish"]
    await server.command("ACL", "SETUSER", "deaf", "on", ">pw", "~iclient-proxy:*", "resetchannels", "-@all", *rules)
    grants = process(url=server.url.replace("unix://", "unix://deaf:pw@"))
    with capture_logs() as logs:
        await grants.start(lambda _: None)
        await eventually("the second attempt", lambda: "not_listening" in outcomes(logs))

    assert grants.available
    assert await stored(grants).save(Stored(1, GRANT))
    assert await stored(process()).load() == Stored(1, GRANT)


async def test_a_mistake_of_ours_does_not_end_the_hearing(server, replicas, process):
    heard = []

    def stumble(name):
        heard.append(name)
        raise KeyError(name)

    grants = process()
    stored(grants)
    with capture_logs() as logs:
        await grants.start(stumble)
        await eventually("two hearings", lambda: len(heard) > 1)

    assert [line["event"] for line in logs if line["log_level"] == "error"][:2] == ["store_link_failed"] * 2
