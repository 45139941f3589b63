import pytest

from tests.chaos.kills import ON_DISK, Point, hunt, victim_on_disk

EACH = 3


@pytest.mark.case("R-371", "R-374", "R-375")
@pytest.mark.needs("strace")
@pytest.mark.timeout(180)
@pytest.mark.parametrize("grace", [False, True], ids=["strict", "forgiving"])
async def test_whoever_is_killed_in_a_rotation_goes_on_or_loses_the_grant_for_a_reason(tmp_path, grace):
    async with victim_on_disk(tmp_path, grace=grace) as victim:
        seen = await hunt(victim, ON_DISK, 1 if grace else EACH)

    assert seen.faults == ()
    assert {way.point for way in seen.kills} == set(Point)
    assert (seen.verdict.lost == 0) == grace
