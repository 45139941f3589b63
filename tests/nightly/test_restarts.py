import pytest

from tests.nightly.restarts import MODES, figures, roll


@pytest.mark.case("L-288")
@pytest.mark.needs("haproxy")
@pytest.mark.parametrize("mode", MODES)
async def test_a_rolling_restart_behind_a_load_balancer_fails_no_request(tmp_path, mode):
    # Longer than in the long form: other tests run at the same time.
    found = figures(await roll(tmp_path, 1, mode=mode, drain_delay="3s"))

    assert [each for each in found if not each.holds] == []
