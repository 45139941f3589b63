import pytest

from tests.chaos.crowd import CALLERS, figures, gather


@pytest.mark.case("R-361", "R-362")
async def test_of_ten_thousand_cold_callers_a_third_leaves_and_no_other_fails(tmp_path):
    found = figures(await gather(tmp_path, CALLERS))

    assert [each for each in found if not each.holds] == []
