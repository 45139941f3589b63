"""What every store promises, and what the one on disk promises beyond: crashes, keys, tampering, a full disk."""

import asyncio
import base64
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from proxy.definitions.settings import FileStore
from proxy.errors import MachineError
from proxy.oauth.grant import NO_GRANT, Grant
from proxy.secret import Secret
from proxy.tokens.store.file import GrantFolder
from proxy.tokens.store.memory import MemoryStore
from tests.oauth.answers import connection, iclient

ROOT = Path(__file__).parents[2]
K1, K2 = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))
GRANT = Grant(Secret("canary-r1"), None, {"instance_url": "https://canary-eu.example", "n": 1}, {"realm": "canary-7"})
NEXT = Grant(Secret("canary-r2"))

# A child that saves one grant, says so, and is killed by SIGKILL before the n-th call of one step of the next save.
CHILD = """
import asyncio, os, signal, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.tokens import test_stores as t
folder = t.folder(Path(sys.argv[1]))
store = t.stored(folder)
asyncio.run(store.save(t.GRANT))
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
    asyncio.run(store.save(t.NEXT))
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
    """Return what a fresh process would find."""
    grants = folder(path, keys)
    try:
        return seen(await stored(grants, **settings).load())
    finally:
        grants.close()


async def put(path, grant, keys=K1, **settings):
    grants = folder(path, keys)
    await stored(grants, **settings).save(grant)
    grants.close()


async def child(path, step, count=1):
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD.format(root=str(ROOT)), str(path), step, str(count),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip


@pytest.fixture(params=["memory", "file"])
def store(request, tmp_path):
    if request.param == "memory":
        yield MemoryStore()
    else:
        grants = folder(tmp_path / "grants")
        yield stored(grants)
        grants.close()


# ------------------------------------------------------------------------------------------------------- every store


async def test_a_store_begins_with_nothing(store):
    assert await store.load() is None


async def test_a_store_returns_the_last_grant_whole(store):
    await store.save(NEXT)
    await store.save(GRANT)

    assert seen(await store.load()) == seen(GRANT)


async def test_a_lost_grant_is_not_found_again(store):
    await store.save(GRANT)
    await store.save(None)

    assert await store.load() in (None, NO_GRANT)


# ---------------------------------------------------------------------------------------------------------- on disk


async def test_a_grant_outlives_the_process(tmp_path):
    await put(tmp_path, GRANT)

    assert await kept(tmp_path) == seen(GRANT)


async def test_a_lost_grant_stays_lost_so_that_its_seed_is_not_used_again(tmp_path):
    await put(tmp_path, GRANT, refresh_token=Secret("seed"))
    await put(tmp_path, None, refresh_token=Secret("seed"))

    assert await kept(tmp_path, refresh_token=Secret("seed")) == (None, {}, {})


@pytest.mark.case("S-316", "S-317")
async def test_nothing_of_a_grant_is_readable_and_only_its_owner_may_try(tmp_path):
    await put(tmp_path / "a" / "grants", GRANT)

    files = sorted((tmp_path / "a" / "grants").iterdir())
    assert [file.name for file in files] == ["crm.grant", "lock"]
    assert [oct(file.stat().st_mode & 0o777) for file in files] == ["0o600", "0o600"]
    assert (tmp_path / "a" / "grants").stat().st_mode & 0o777 == 0o700
    assert b"canary" not in files[0].read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a"]


@pytest.mark.case("R-386")
async def test_keys_rotate_without_a_miss(tmp_path):
    await put(tmp_path, GRANT, K1)
    assert await kept(tmp_path, f"{K2},{K1}") == seen(GRANT)

    await put(tmp_path, NEXT, f"{K2},{K1}")

    assert await kept(tmp_path, K2) == seen(NEXT)


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
    store = stored(grants)
    assert await store.load() is None
    assert await store.load() is None
    assert grants.errors == {"load": 0, "open": 1, "save": 0}
    await store.save(NEXT)
    grants.close()
    assert (tmp_path / "crm.previous").exists()
    assert await kept(tmp_path, K2 if harm == "wrong key" else K1) == seen(NEXT)


@pytest.mark.parametrize(
    "settings",
    [
        {"refresh_token": Secret("another seed")},
        {"scopes": ("write",)},
        {"username": "ann"},
        {"client": iclient(grant_type="refresh_token")},
    ],
    ids=["seed", "scopes", "user", "grant"],
)
async def test_another_fingerprint_is_a_miss_and_the_old_grant_stays_for_one_generation(tmp_path, settings):
    await put(tmp_path, GRANT)
    assert await kept(tmp_path, **settings) is None

    await put(tmp_path, NEXT, **settings)

    assert await kept(tmp_path, **settings) == seen(NEXT)
    assert await kept(tmp_path) == seen(GRANT)


async def test_a_changed_connection_with_the_same_fingerprint_finds_its_grant(tmp_path):
    grants = folder(tmp_path)
    await stored(grants).save(GRANT)

    assert seen(stored(grants, required=True).held) == seen(GRANT)
    grants.close()


def test_two_proxies_do_not_share_a_folder(tmp_path):
    first = folder(tmp_path)
    with pytest.raises(MachineError, match=str(tmp_path)) as refused:
        folder(tmp_path)

    assert refused.value.code == "store_in_use"
    first.close()
    folder(tmp_path).close()


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


async def test_what_a_disk_refuses_is_counted_served_from_memory_and_tried_again(tmp_path):
    grants = folder(tmp_path)
    store = stored(grants)
    await store.save(GRANT)
    (tmp_path / "crm.new").mkdir()  # neither root nor anybody else can write a file there

    await store.save(NEXT)
    assert seen(await store.load()) == seen(NEXT)
    assert grants.errors == {"load": 0, "open": 0, "save": 2}
    (tmp_path / "crm.new").rmdir()
    await store.load()

    grants.close()
    assert await kept(tmp_path) == seen(NEXT)


def test_a_folder_that_can_not_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="file/grants"):
        folder(tmp_path / "file" / "grants")
