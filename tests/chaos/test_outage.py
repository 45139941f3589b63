import logging

import pytest
import structlog

from tests.chaos.outage import at_random, figures, grid, lived, on_the_edge


@pytest.fixture(autouse=True)
def _quiet():
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


@pytest.mark.case("R-366")
def test_no_request_fails_while_the_server_is_away_for_a_third_of_a_tokens_life_and_its_return_is_noticed():
    outages = [*grid((60, 300, 7200), phases=4), *at_random(10, seed=3), *on_the_edge(20, seed=3)]
    found = figures([lived(outage) for outage in outages])

    assert [each for each in found if not each.holds] == []
