"""What every store promises, and what the one on disk promises beyond: crashes, keys, tampering, a full disk."""

import asyncio
import base64
import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from proxy.definitions.settings import FileStore
from proxy.errors import MachineError
from proxy.oauth.grant import NO_GRANT, Grant
from proxy.sealing import Keyring
from proxy.secret import Secret
from proxy.tokens.fingerprint import fingerprint
from proxy.tokens.store.file import GrantFolder
from proxy.tokens.store.memory import MemoryStore
from proxy.tokens.stored import SharedToken, Stored, StoreUnavailable
from tests.oauth.answers import connection, iclient
from tests.support.deadline import awaiting
from tests.support.redis_server import redis_server
from tests.tokens.redis_store import servers
from tests.tokens.shared_grants import SharedGrants

ROOT = Path(__file__).parents[2]
K1, K2 = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))
GRANT = Grant(Secret("canary-r1"), None, {"instance_url": "https://canary-eu.example", "n": 1}, {"realm": "canary-7"})
NEXT = Grant(Secret("canary-r2"))
TOKEN = SharedToken(Secret("canary-a1"), 1767323045.5, 3600.0, {"id_token": "canary-i1"})

# A child that saves one grant, says so, and is killed by SIGKILL before the n-th call of one step of the next save.
CHILD = """
import asyncio, os, signal, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.tokens import test_stores as t
folder = t.folder(Path(sys.argv[1]))
store = t.stored(folder)
asyncio.run(store.save(t.Stored(1, t.GRANT)))
step, left = sys.argv[2], int(sys.argv[3])
original = getattr(os, step, None)
def deadly(*arguments):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments)
if step != "none":
    setattr(os, step, deadly)
    asyncio.run(store.save(t.Stored(2, t.NEXT)))
print("saved", flush=True)
sys.stdin.read()
"""


def folder(path, keys=K1):
    return GrantFolder(FileStore(path, Secret(keys)), os.urandom)


def stored(grants, name="crm", client=None, **settings):
    client = client or iclient()
    return grants.store(connection(client, name=name, **settings), client)


def seen(grant):
    return grant and (grant.refresh_token and grant.refresh_token.reveal(), dict(grant.fields), dict(grant.callback))


async def kept(path, keys=K1, **settings):
    """Return the grant that a fresh process would find."""
    grants = folder(path, keys)
    try:
        return seen((await stored(grants, **settings).load()).grant)
    finally:
        grants.close()


async def put(path, grant, keys=K1, **settings):
    grants = folder(path, keys)
    await add(stored(grants, **settings), grant)
    grants.close()


async def add(store, grant, **more):
    """Save the next version."""
    assert await store.save(Stored((await store.load()).version + 1, grant, **more))


async def child(path, step, count=1):
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD.format(root=str(ROOT)), str(path), step, str(count),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip


class Remembered:
    """Stores in memory by connection: the runtime makes one for each keeper."""

    def __init__(self):
        self._stores = {}

    def store(self, of, client):
        return self._stores.setdefault(of.name, MemoryStore())


REDIS = pytest.param("redis", marks=pytest.mark.needs("redis-server"))


@pytest.fixture(params=["memory", "file", "played", REDIS])
async def grants(request, tmp_path):
    """Where the grants of one process are kept: `grants.store(connection, iclient)`."""
    if request.param == "memory":
        yield Remembered()
    elif request.param == "played":
        yield SharedGrants().replica()
    elif request.param == "file":
        grants = folder(tmp_path / "grants")
        yield grants
        grants.close()
    else:
        async with redis_server() as server, servers(server) as process:
            yield process()


@pytest.fixture
def store(grants):
    return stored(grants)


# ------------------------------------------------------------------------------------------------------- every store


async def test_a_store_begins_with_nothing(store):
    assert await store.load() == Stored()


async def test_a_store_returns_what_was_saved_last_whole(store):
    await store.save(Stored(1, NEXT))
    await store.save(Stored(2, GRANT, TOKEN, "digest"))

    found = await store.load()
    assert seen(found.grant) == seen(GRANT)
    assert found == Stored(2, GRANT, TOKEN, "digest")
    assert dict(found.token.fields) == TOKEN.fields


async def test_a_save_tells_that_it_was_kept(store):
    assert await store.save(Stored(1, GRANT)) is True


@pytest.mark.parametrize("version", [0, 1, 2])
async def test_who_is_late_changes_nothing_and_is_told(store, version):
    await store.save(Stored(1, GRANT))
    await store.save(Stored(2, NEXT, TOKEN))

    assert await store.save(Stored(version, GRANT)) is False
    assert await store.load() == Stored(2, NEXT, TOKEN)


async def test_who_counted_on_while_a_store_was_away_is_newer(store):
    await store.save(Stored(1, GRANT))

    assert await store.save(Stored(4, NEXT)) is True
    assert await store.load() == Stored(4, NEXT)


async def test_of_two_who_save_at_once_one_is_told_that_he_is_late(grants):
    saved = await asyncio.gather(*(stored(grants).save(Stored(1, grant)) for grant in (GRANT, NEXT)))

    assert sorted(saved) == [False, True]
    assert (await stored(grants).load()).grant == (GRANT if saved[0] else NEXT)


async def test_a_lost_grant_is_told_from_one_that_never_was(store):
    await store.save(Stored(1, GRANT))
    await store.save(Stored(2, NO_GRANT))

    assert await store.load() == Stored(2, NO_GRANT)


async def test_an_access_token_needs_no_grant(store):
    await store.save(Stored(1, None, TOKEN))

    assert await store.load() == Stored(1, None, TOKEN)


async def test_connections_do_not_see_each_other(grants):
    await stored(grants, "crm").save(Stored(1, GRANT))

    assert await stored(grants, "erp").load() == Stored()
    assert await stored(grants, "erp").save(Stored(1, NEXT))
    assert await stored(grants, "crm").load() == Stored(1, GRANT)


async def test_a_turn_that_is_free_comes_at_once_and_is_free_again_afterwards(store):
    async with awaiting("three turns"):
        for number in (1, 2):
            async with store.turn():
                assert await store.save(Stored(number, GRANT))
        with pytest.raises(KeyError):
            async with store.turn():
                raise KeyError
        async with store.turn():
            assert (await store.load()).version == 2


async def test_a_store_says_whether_replicas_share_it(store, request):
    assert store.shared is (request.node.callspec.id in {"played", "redis"})
    assert store.on_failure == ("hold" if store.shared else "refresh")


# ------------------------------------------------------------------------------------------- what outlives a process


@pytest.fixture(params=["file", REDIS])
async def fresh(request, tmp_path):
    """Call it with keys for the grants as a process that has just begun finds them; the one before has ended."""
    open_now = []

    def opened(keys=K1):
        for grants in open_now:
            grants.close()
        open_now[:] = [folder(tmp_path, keys)]
        return open_now[0]

    if request.param == "file":
        yield opened
        open_now[0].close()
    else:
        async with redis_server() as server, servers(server) as process:
            yield process


async def test_a_grant_outlives_the_process(fresh):
    await add(stored(fresh()), GRANT)

    assert await stored(fresh()).load() == Stored(1, GRANT)


async def test_a_lost_grant_stays_lost_so_that_its_seed_is_not_used_again(fresh):
    await add(stored(fresh(), refresh_token=Secret("seed")), GRANT)
    await add(stored(fresh(), refresh_token=Secret("seed")), NO_GRANT)

    assert (await stored(fresh(), refresh_token=Secret("seed")).load()).grant == NO_GRANT


@pytest.mark.case("R-386")
async def test_keys_rotate_without_a_miss(fresh):
    await add(stored(fresh(K1)), GRANT)
    assert (await stored(fresh(f"{K2},{K1}")).load()).grant == GRANT

    await add(stored(fresh(f"{K2},{K1}")), NEXT)

    assert (await stored(fresh(K2)).load()).grant == NEXT


OTHERS = pytest.mark.parametrize(
    "settings",
    [
        {"refresh_token": Secret("another seed")},
        {"scopes": ("write",)},
        {"username": "ann"},
        {"client": iclient(grant_type="refresh_token")},
    ],
    ids=["seed", "scopes", "user", "grant"],
)


@OTHERS
async def test_another_fingerprint_is_a_miss_and_the_old_grant_stays_for_one_generation(fresh, settings):
    await add(stored(fresh()), GRANT, token=TOKEN)
    assert await stored(fresh(), **settings).load() == Stored(1)

    await add(stored(fresh(), **settings), NEXT)

    assert await stored(fresh(), **settings).load() == Stored(2, NEXT)
    assert (await stored(fresh()).load()).grant == GRANT


async def test_versions_go_on_whosesoever_the_grant_is(fresh):
    await add(stored(fresh()), GRANT)
    await add(stored(fresh(), username="ann"), NEXT)

    assert (await stored(fresh()).load()).version == 2
    assert await stored(fresh()).save(Stored(2, GRANT)) is False


# ---------------------------------------------------------------------------------------------------------- on disk


@pytest.mark.case("S-316", "S-317")
async def test_nothing_of_a_grant_is_readable_and_only_its_owner_may_try(tmp_path):
    await put(tmp_path / "a" / "grants", GRANT)

    files = sorted((tmp_path / "a" / "grants").iterdir())
    assert [file.name for file in files] == ["crm.grant", "lock"]
    assert [oct(file.stat().st_mode & 0o777) for file in files] == ["0o600", "0o600"]
    assert (tmp_path / "a" / "grants").stat().st_mode & 0o777 == 0o700
    assert b"canary" not in files[0].read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a"]


async def test_a_record_of_the_first_schema_is_read(tmp_path):
    content = {"refresh_token": "canary-r1", "fields": {"n": 1}, "callback": {}}
    content["fingerprint"] = fingerprint(connection(iclient(), name="crm"), iclient())
    purpose = "store\0001:1\0004:file\0003:crm\0005:grant"
    text = Keyring(K1).seal(json.dumps(content), purpose, os.urandom)
    (tmp_path / "crm.grant").write_text(json.dumps({"schema": 1, "grant": text}))

    assert await kept(tmp_path) == ("canary-r1", {"n": 1}, {})
    await put(tmp_path, NEXT)
    assert await kept(tmp_path) == seen(NEXT)


@pytest.mark.case("R-385")
@pytest.mark.parametrize("harm", ["swapped", "tampered", "truncated", "emptied", "garbage", "nested", "wrong key"])
async def test_a_record_that_does_not_open_is_a_miss_that_is_counted(tmp_path, harm):
    await put(tmp_path, GRANT)
    await put(tmp_path, NEXT, name="erp")
    file = tmp_path / "crm.grant"
    data = file.read_bytes()
    flipped = json.loads(data)["grant"]
    flipped = flipped[:40] + ("A" if flipped[40] != "A" else "B") + flipped[41:]
    file.write_bytes(
        {
            "swapped": (tmp_path / "erp.grant").read_bytes(),
            "tampered": json.dumps({"schema": 1, "grant": flipped}).encode(),
            "truncated": data[: len(data) // 2],
            "emptied": b"",
            "garbage": b"[\xff",
            "nested": b"[" * 100_000,
        }.get(harm, data)
    )

    grants = folder(tmp_path, K2 if harm == "wrong key" else K1)
    with capture_logs() as logs:
        store = stored(grants)
        assert await store.load() == Stored()
        assert await store.load() == Stored()
    assert grants.errors == {"load": 0, "open": 1, "save": 0}
    [line] = logs
    assert (line["event"], line["connection"], line["outcome"]) == ("store", "crm", "undecryptable")
    assert line["file"] == str(file)
    assert line["reason"]
    await store.save(Stored(1, NEXT))
    grants.close()
    assert (tmp_path / "crm.previous").exists()
    assert await kept(tmp_path, K2 if harm == "wrong key" else K1) == seen(NEXT)


async def test_a_changed_connection_with_the_same_fingerprint_finds_its_grant(tmp_path):
    grants = folder(tmp_path)
    await stored(grants).save(Stored(1, GRANT))

    assert stored(grants, required=True).held == Stored(1, GRANT)
    grants.close()


def test_two_proxies_do_not_share_a_folder(tmp_path):
    first = folder(tmp_path)
    with pytest.raises(MachineError, match=str(tmp_path)) as refused:
        folder(tmp_path)

    assert refused.value.code == "store_in_use"
    first.close()
    folder(tmp_path).close()


async def test_a_folder_that_was_removed_and_made_again_is_locked_again_by_the_next_save(tmp_path):
    path = tmp_path / "grants"
    grants = folder(path)
    store = stored(grants)
    await store.save(Stored(1, GRANT))
    shutil.rmtree(path)
    path.mkdir()
    await store.save(Stored(2, NEXT))

    with pytest.raises(MachineError) as refused:
        folder(path)
    assert refused.value.code == "store_in_use"
    grants.close()
    assert await kept(path) == seen(NEXT)


@pytest.mark.case("L-294")
async def test_a_killed_process_leaves_no_lock(tmp_path):
    process = await child(tmp_path, "none")
    assert await process.stdout.readline() == b"saved\n"
    with pytest.raises(MachineError):
        folder(tmp_path)
    process.send_signal(signal.SIGKILL)
    await process.communicate()

    assert await kept(tmp_path) == seen(GRANT)


@pytest.mark.case("R-375")
@pytest.mark.parametrize(
    ("step", "count", "found"),
    [("fsync", 1, GRANT), ("replace", 1, GRANT), ("fsync", 2, NEXT)],
    ids=["temp file written", "synced", "renamed"],
)
async def test_a_save_that_is_killed_is_whole_or_did_not_happen(tmp_path, step, count, found):
    process = await child(tmp_path, step, count)
    assert await process.communicate() == (b"", None)
    assert process.returncode == -signal.SIGKILL

    assert await kept(tmp_path) == seen(found)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["crm.grant", "lock"]


async def test_a_file_that_can_not_be_read_is_a_miss_that_is_counted(tmp_path):
    (tmp_path / "crm.grant").mkdir()
    grants = folder(tmp_path)

    with capture_logs() as logs:
        assert await stored(grants).load() == Stored()
    grants.close()

    assert grants.errors == {"load": 1, "open": 0, "save": 0}
    [line] = logs
    assert (line["event"], line["outcome"], line["reason"]) == ("store", "unreadable", "Is a directory")
    assert line["file"] == str(tmp_path / "crm.grant")


async def test_one_generation_is_put_aside_and_no_more(tmp_path):
    grants = folder(tmp_path)
    first, second, third = (stored(grants, username=user) for user in ("a", "b", "c"))
    for version, (store, grant) in enumerate([(first, GRANT), (second, NEXT), (third, GRANT)], 1):
        assert await store.save(Stored(version, grant))

    assert [await store.load() for store in (first, second, third)] == [Stored(3), Stored(3, NEXT), Stored(3, GRANT)]
    grants.close()
    assert [await kept(tmp_path, username=user) for user in ("a", "b", "c")] == [None, seen(NEXT), seen(GRANT)]


async def test_a_record_is_on_the_disk_before_it_takes_the_place_of_the_one_before(tmp_path, monkeypatch):
    grants = folder(tmp_path)
    store = stored(grants)
    await store.save(Stored(1, GRANT))
    before = (tmp_path / "crm.grant").read_bytes()
    found = []
    synced = os.fsync

    def sync(file):
        names = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name != "lock"}
        found.append((Path(f"/proc/self/fd/{file}").readlink(), names))
        synced(file)

    monkeypatch.setattr(os, "fsync", sync)
    await store.save(Stored(2, NEXT))
    grants.close()

    after = (tmp_path / "crm.grant").read_bytes()
    assert found == [
        (tmp_path / "crm.new", {"crm.grant": before, "crm.new": after}),
        (tmp_path, {"crm.grant": after}),
    ]


async def test_a_save_that_fails_late_leaves_nothing_half_done(tmp_path):
    (tmp_path / "crm.grant").mkdir()  # which can't be put aside:
    (tmp_path / "crm.previous" / "full").mkdir(parents=True)
    grants = folder(tmp_path)

    with pytest.raises(StoreUnavailable):
        await stored(grants).save(Stored(1, GRANT))
    grants.close()

    assert sorted(path.name for path in tmp_path.iterdir()) == ["crm.grant", "crm.previous", "lock"]


async def test_a_file_in_the_place_of_the_next_record_is_not_written_into(tmp_path):
    grants = folder(tmp_path / "grants")
    (tmp_path / "elsewhere").write_text("of somebody")
    (tmp_path / "grants" / "crm.new").symlink_to(tmp_path / "elsewhere")
    await stored(grants).save(Stored(1, GRANT))
    (tmp_path / "grants" / "crm.new").write_text("left")
    await stored(grants).save(Stored(2, NEXT))
    grants.close()

    assert (tmp_path / "elsewhere").read_text() == "of somebody"
    assert await kept(tmp_path / "grants") == seen(NEXT)


def test_a_lock_that_leads_elsewhere_is_not_taken(tmp_path):
    (tmp_path / "grants").mkdir()
    (tmp_path / "grants" / "lock").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(MachineError) as refused:
        folder(tmp_path / "grants")
    assert refused.value.code == "store_unusable"
    assert not (tmp_path / "elsewhere").exists()


async def test_what_a_disk_refuses_is_counted_served_from_memory_and_tried_again(tmp_path):
    not_saved = {"event": "store", "connection": "crm", "outcome": "not_saved", "log_level": "error"}
    not_saved |= {"folder": str(tmp_path), "reason": "Is a directory"}
    grants = folder(tmp_path)
    store = stored(grants)
    await store.save(Stored(1, GRANT))
    (tmp_path / "crm.new").mkdir()  # neither root nor anybody else can write a file there

    with capture_logs() as logs:
        with pytest.raises(StoreUnavailable):
            await store.save(Stored(2, NEXT))
        assert await store.load() == Stored(2, NEXT)
    assert grants.errors == {"load": 0, "open": 0, "save": 2}
    assert grants.unsaved("crm")
    assert not grants.unsaved("erp")
    assert logs == [not_saved] * 2
    (tmp_path / "crm.new").rmdir()
    await store.load()
    assert not grants.unsaved("crm")

    grants.close()
    assert await kept(tmp_path) == seen(NEXT)


def test_a_folder_in_which_what_was_left_can_not_be_cleared_away_is_named_and_free_again(tmp_path):
    (tmp_path / "crm.new").mkdir()
    with pytest.raises(MachineError, match=str(tmp_path)) as refused:
        folder(tmp_path)
    assert refused.value.code == "store_unusable"

    (tmp_path / "crm.new").rmdir()
    folder(tmp_path).close()


def test_a_folder_that_can_not_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="file/grants") as refused:
        folder(tmp_path / "file" / "grants")
    assert refused.value.code == "store_unusable"
