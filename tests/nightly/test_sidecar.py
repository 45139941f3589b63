import pytest

from tests.nightly.sidecar import REST_MIB, cost, figures_of_cost, figures_of_reloads, reloads


@pytest.mark.parametrize("secured", [False, True], ids=["plain", "secured"])
async def test_a_sidecar_at_rest_and_under_load_keeps_within_its_memory_and_fails_nothing(tmp_path, secured):
    costs = await cost(tmp_path, at_rest=1, busy=2, secured=secured)

    # What it costs in CPU time says as much of this machine as of the proxy: that is for the long form.
    told = [each for each in figures_of_cost(costs) if "millicores" not in each.what]
    assert [each for each in told if not each.holds] == []
    assert all(0 < each.resident < REST_MIB + 32 for each in costs)


async def test_reloads_of_many_connections_under_load_fail_no_request(tmp_path):
    felt = await reloads(tmp_path, connections=300, times=2)

    assert felt.failed == 0
    assert figures_of_reloads(felt)[0].holds
    assert felt.reloads == 3
