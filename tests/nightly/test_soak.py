import pytest

from tests.nightly.soak import figures, soak


@pytest.mark.case("L-299")
async def test_a_fault_every_half_second_leaves_no_error_without_a_cause_and_nothing_behind(tmp_path):
    seen = await soak(tmp_path, seconds=12, rate=100, every=0.5, seed=1)

    assert seen.unexplained == ()
    assert seen.failures == ()
    assert [each for each in figures(seen) if not each.holds] == []
    assert seen.kinds == 14
