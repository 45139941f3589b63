import pytest

from tests.nightly.restarts import MODES, figures, roll


@pytest.mark.case("L-288")
@pytest.mark.needs("haproxy")
@pytest.mark.parametrize("mode", MODES)
async def test_a_rolling_restart_behind_a_load_balancer_fails_no_request(tmp_path, mode):
    found = figures(await roll(tmp_path, 1, mode=mode))

    assert [each for each in found if not each.holds] == []
