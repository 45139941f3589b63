import pytest

from tests.chaos.nemesis import figures as aftermath
from tests.chaos.nemesis import rage
from tests.chaos.replicas import expire_together


@pytest.mark.case("R-376")
@pytest.mark.needs("redis-server")
@pytest.mark.timeout(120)
async def test_a_token_that_expires_at_three_replicas_at_once_costs_one_token_request(tmp_path):
    seen = await expire_together(tmp_path, connections=4, expiries=20, expires_in=2)

    assert seen.token_requests == seen.expiries >= 20
    assert (seen.refused, seen.failed) == (0, 0)
    assert seen.faults == ()


@pytest.mark.case("R-377", "R-378", "R-380")
@pytest.mark.needs("redis-server")
@pytest.mark.timeout(180)
async def test_replicas_that_stand_still_or_die_and_a_redis_that_forgets_cost_no_grant_without_a_reason(tmp_path):
    only = ("pause_in_a_renewal", "pause_shortly", "destroy_an_answer", "kill_and_start", "cut_streams_to_redis")
    seen = await rage(tmp_path, 1, connections=4, grace=True, seed=1, only=only)

    assert (seen.verdict.faults, seen.stuck) == ((), ())
    assert [each for each in aftermath(seen, "forgiving") if not each.holds] == []
    assert set(seen.done.values()) == {1}
    assert len(seen.done) == len(only)
