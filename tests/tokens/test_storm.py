"""A minute of refusals, with a clock that tests move: what a storm of them asks of the two servers."""

import pytest

from tests.tokens.lives import Led

PER_SECOND = 500


@pytest.mark.case("P-234", "R-395")
def test_an_api_that_refuses_for_ever_costs_three_token_requests_a_minute_and_a_hundredth_more_requests():
    led = Led()
    led.first_token(3600)
    requests = 60 * PER_SECOND
    attempts = 0
    for _ in range(requests):
        attempts += 1
        if led.refused():
            led.land(3600)
            attempts += 1
            led.refused(replayed=True)
        led.after(1 / PER_SECOND)

    assert led.started <= 3
    assert attempts <= 1.01 * requests
