import pytest

from bench.peers import PEERS
from bench.rows import BARS, MEMORY, NAMES, QUICK, ROWS, Bar, Closed, Measure, Verdict, judge
from bench.upstream import SIZES

AT_MOST = Bar("cost", "small-64", "proxy", Measure.CPU, "nginx", 2.0)
AT_LEAST = Bar("throughput", "1m-64", "proxy", Measure.RATE, "nginx", 1.0, at_least=True)
ABOVE = Bar("latency", "open", "proxy", Measure.P99, "nginx", 2.0)
ABSOLUTE = Bar("memory", MEMORY, "proxy", Measure.IDLE, "", 6.0)


def rounds(ours, theirs=10.0):
    return [{"proxy": ours, "nginx": theirs}] * 5


@pytest.mark.parametrize(
    ("bar", "ours", "verdict"),
    [
        (AT_MOST, 20.0, Verdict.PASS),
        (AT_MOST, 20.9, Verdict.CLOSE),  # a twentieth is noise
        (AT_MOST, 21.1, Verdict.SHORT),
        (AT_LEAST, 10.0, Verdict.PASS),
        (AT_LEAST, 9.6, Verdict.CLOSE),
        (AT_LEAST, 9.4, Verdict.SHORT),
        (ABOVE, 12.05, Verdict.CLOSE),
        (ABOVE, 12.15, Verdict.SHORT),
        (ABSOLUTE, 6.2, Verdict.CLOSE),
        (ABSOLUTE, 6.4, Verdict.SHORT),
    ],
)
def test_a_row_passes_at_its_bar_and_is_close_up_to_a_twentieth_beside_it(bar, ours, verdict):
    assert judge(bar, rounds(ours)).verdict is verdict


def test_the_median_of_the_rounds_decides_not_the_best_or_the_worst():
    outcome = judge(AT_MOST, [{"proxy": ours, "nginx": 10.0} for ours in (90.0, 15.0, 19.0, 18.0, 5.0)])

    assert outcome.verdict is Verdict.PASS
    assert (outcome.figure.median, outcome.figure.low, outcome.figure.high) == (1.8, 0.5, 9.0)


@pytest.mark.parametrize("bar", [AT_MOST, AT_LEAST, ABOVE, ABSOLUTE])
def test_a_row_that_was_not_measured_neither_passes_nor_falls_short(bar):
    assert judge(bar, []).verdict is Verdict.UNKNOWN
    assert judge(bar, [{"caddy": 3.0}]).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("bar", BARS, ids=str)
def test_every_bar_is_about_a_row_and_peers_that_there_are(bar):
    row = next((row for row in ROWS if row.name == bar.row), None)
    parties = {bar.subject, bar.against} - {""}

    assert bar.row in NAMES
    assert parties <= set(PEERS)
    assert row is None or not row.only or parties <= set(row.only)


def test_a_short_run_measures_every_row_that_a_bar_is_about():
    assert {bar.row for bar in BARS} <= set(QUICK) <= set(NAMES)


def test_every_size_is_measured_at_every_number_of_connections_plain_and_over_tls():
    cells = {(row.size, row.connections, row.tls) for row in ROWS if isinstance(row, Closed) and not row.only}

    assert cells >= {(size, n, tls) for size in ("small", "10k", "1m") for n in (1, 64, 256) for tls in (False, True)}
    assert {row.size for row in ROWS} <= set(SIZES)
    assert len(set(NAMES)) == len(NAMES)
