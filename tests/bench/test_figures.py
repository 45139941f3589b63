import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.figures import UNKNOWN, Figure, Sample, figure, mismatch, percentile, ratio

GOOD = Sample(
    amount=1000, seconds=2.0, cpu_seconds=0.05, p50=900.0, p99=2500.0, sent=1064, completed=1000, counted=1040,
    failed=0, broken=0, foreign=0.1,
)  # fmt: skip


def test_a_sample_knows_its_cost_per_answer_and_its_rate():
    assert GOOD.cpu == pytest.approx(50.0)
    assert GOOD.rate == 500.0


def test_a_sample_without_answers_has_no_cost():
    assert math.isnan(replace(GOOD, amount=0).cpu)


def test_a_figure_is_the_median_with_the_lowest_and_the_highest_round():
    assert figure([5.0, 1.0, 9.0, 2.0, 3.0]) == Figure(3.0, 1.0, 9.0)
    assert figure([4.0, 1.0]) == Figure(2.5, 1.0, 4.0)


def test_a_figure_leaves_rounds_out_that_measured_nothing():
    assert figure([math.nan, 2.0]) == Figure(2.0, 2.0, 2.0)
    assert not figure([math.nan]).known
    assert figure([]) == UNKNOWN


def test_a_ratio_compares_within_each_round():
    rounds = [{"a": 10.0, "b": 5.0}, {"a": 300.0, "b": 100.0}, {"a": 8.0, "b": 2.0}]

    assert ratio(rounds, "a", "b") == Figure(3.0, 2.0, 4.0)


def test_a_ratio_passes_over_rounds_where_one_of_the_two_is_missing_or_zero():
    rounds = [{"a": 10.0}, {"b": 5.0}, {"a": 1.0, "b": 0.0}, {"a": 6.0, "b": 3.0}]

    assert ratio(rounds, "a", "b") == Figure(2.0, 2.0, 2.0)
    assert not ratio(rounds, "a", "c").known


def test_a_percentile_is_one_of_the_values():
    values = [float(number) for number in range(100, 0, -1)]

    assert percentile(values, 50) == 50.0
    assert percentile(values, 99) == 99.0
    assert percentile([7.0], 99) == 7.0
    assert math.isnan(percentile([], 50))


@given(st.lists(st.floats(0, 1e9), min_size=1), st.floats(1, 100))
def test_a_percentile_has_so_many_values_at_or_below_it(values, percent):
    found = percentile(values, percent)

    assert sum(value <= found for value in values) >= len(values) * percent / 100 - 1e-6
    assert found in values


def test_counts_agree_when_the_upstream_saw_what_was_answered_and_no_more_than_was_sent():
    assert mismatch(GOOD) is None
    assert mismatch(replace(GOOD, counted=1000)) is None
    assert mismatch(replace(GOOD, counted=1064)) is None


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"counted": 999}, "counted 999"),  # answered without asking
        ({"counted": 1065}, "counted 1065"),  # asked twice
        ({"failed": 1}, "not 2xx"),
        ({"broken": 2}, "2 streams broke"),
        ({"completed": 0, "counted": 0, "sent": 64}, "nothing was answered"),
    ],
)
def test_what_does_not_agree_is_told(wrong, words):
    assert words in (mismatch(replace(GOOD, **wrong)) or "")
