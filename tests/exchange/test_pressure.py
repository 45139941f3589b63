"""At which marks of a full memory something changes."""

from __future__ import annotations

import pytest

from proxy.exchange.pressure import STREAM_MAX, Pressure, pressure_after

NONE, NEARLY, FULL = Pressure


@pytest.mark.case("L-284")
@pytest.mark.parametrize(
    ("before", "used", "after"),
    [
        (NONE, 0, NONE), (NONE, 849, NONE), (NONE, 850, NEARLY), (NONE, 949, NEARLY), (NONE, 950, FULL),
        (NONE, 2000, FULL), (NEARLY, 801, NEARLY), (NEARLY, 799, NONE), (NEARLY, 949, NEARLY), (NEARLY, 950, FULL),
        (FULL, 901, FULL), (FULL, 899, NEARLY), (FULL, 801, NEARLY), (FULL, 799, NONE),
    ],
)  # fmt: skip
def test_a_mark_is_left_only_well_below_it(before: Pressure, used: int, after: Pressure) -> None:
    assert pressure_after(before, used, 1000) is after


@pytest.mark.case("L-284")
@pytest.mark.parametrize(
    ("used", "young", "after"), [(84, 100, NONE), (85, 0, NEARLY), (85, 9, NEARLY), (85, 10, FULL)]
)
def test_exchanges_that_have_just_begun_count_with_what_they_may_come_to_where_memory_is_short(
    used: int, young: int, after: Pressure
) -> None:
    assert pressure_after(NONE, used * STREAM_MAX, 100 * STREAM_MAX, young=young) is after
