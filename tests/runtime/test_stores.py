"""Which grant a restart would lose, and what operators are told of the store."""

import random

import pytest

from proxy.clock import SystemClock
from proxy.definitions.models import Definitions
from proxy.definitions.redis_url import parse
from proxy.definitions.settings import FileStore, Limits, RedisStore
from proxy.oauth.grant import Grant
from proxy.runtime.stores import Stores, forgotten, open_stores
from proxy.secret import Secret
from proxy.tokens.issuer import BROUGHT
from proxy.tokens.stored import Stored, StoreUnavailable
from tests.oauth.answers import connection, iclient
from tests.tokens.redis_store import K1

ENTROPY = random.SystemRandom()


def of(grant_type):
    return connection(iclient(grant_type=grant_type), name="crm")


def redis(path, **settings):
    address = parse(Secret(f"unix://{path}/nobody.sock")).address
    return Definitions(store=RedisStore(address=address, keys=Secret(K1), **settings))


@pytest.mark.parametrize("grant_type", ["client_credentials", *sorted(BROUGHT)])
def test_memory_loses_what_somebody_brought(grant_type):
    crm = of(grant_type)

    assert Stores().at_risk(crm) is (grant_type in BROUGHT)
    assert bool(Stores().warnings(crm)) is (grant_type in BROUGHT)
    assert forgotten(Definitions(connections=(crm,))) == (("crm",) if grant_type in BROUGHT else ())


async def test_a_folder_loses_only_what_the_disk_refused(tmp_path):
    stores = open_stores(Definitions(store=FileStore(tmp_path, Secret(K1))), ENTROPY, SystemClock())
    crm = of("refresh_token")
    store = stores.grants.store(crm, crm.iclient)
    await store.save(Stored(1, Grant(Secret("canary-r1"))))
    assert stores.warnings(crm) == ()

    (tmp_path / "crm.new").mkdir()
    with pytest.raises(StoreUnavailable):
        await store.save(Stored(2, Grant(Secret("canary-r2"))))

    assert stores.at_risk(crm)
    assert len(stores.warnings(crm)) == 1
    (tmp_path / "crm.new").rmdir()
    await store.load()
    assert not stores.at_risk(crm)
    assert (stores.available, stores.ready) == (None, True)
    await stores.close()


@pytest.mark.case("R-381")
async def test_a_server_that_is_away_is_no_reason_not_to_open_the_store(tmp_path):
    stores = open_stores(redis(tmp_path, on_failure="refresh"), ENTROPY, SystemClock())
    crm, own = of("refresh_token"), of("client_credentials")

    assert (stores.available, stores.ready) == (False, True)
    assert not stores.at_risk(crm)
    with pytest.raises(StoreUnavailable):
        await stores.grants.store(crm, crm.iclient).save(Stored(1, Grant(Secret("canary-r1"))))
    assert stores.at_risk(crm)
    assert len(stores.warnings(crm)) == 2
    assert "renews by itself" in stores.warnings(own)[0]
    await stores.close()
    required = open_stores(redis(tmp_path, required=True), ENTROPY, SystemClock())
    assert not required.ready
    await required.close()


@pytest.mark.case("R-379")
@pytest.mark.parametrize("token_total", [0.5, 10.0, 120.0])
async def test_a_turn_always_outlives_the_longest_token_request(tmp_path, token_total):
    definitions = redis(tmp_path)
    stores = open_stores(
        Definitions(store=definitions.store, limits=Limits(token_total=token_total)), ENTROPY, SystemClock()
    )

    assert stores.grants.turns.seconds >= token_total + 5
    await stores.close()
