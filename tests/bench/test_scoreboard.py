"""The scoreboard's machinery with the product alone, over real processes, and the page that is made of its results."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from bench.scoreboard import __main__ as scoreboard
from bench.scoreboard.contestants import CONTESTANTS
from bench.scoreboard.page import Facts, beaten, page
from bench.scoreboard.reported import costs
from bench.scoreboard.results import Burst, Cannot, Cost, Failed, Posted, Recovery, Rotation, Steady, Streamed
from bench.scoreboard.trials import ROWS
from proxy.demo.faults import NAMES
from tests.bench.test_report import results, written

ROOT = Path(__file__).parents[2]
FILES = ROOT / "bench" / "scoreboard"
ROW = {row.name: row for row in ROWS}
GOOD = Recovery(0.1, 25, {}, 1, 1)


def made(found, missing=None):
    ready = [each for each in CONTESTANTS if any(each.title in results for results in found.values())]
    rows = [ROW[name] for name in found]
    does = {row.fault: f"what {row.fault} does" for row in rows}
    return page(rows, ready, found, Facts(date(2026, 1, 2), 20, does, {"Envoy": "1.2.3"}, missing or {}))


@pytest.mark.needs("taskset")
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("revoked-token", "none lost; 1 token request, 1 refused at the API"),
        ("concurrent-refusals", "1 token request; 64 x 200; "),
        ("empty-200", "none lost; 2 token requests"),
        ("no-expires-in", "1 token request in 5 s"),
        ("slow-at-start", "none lost; 1 token request"),
        ("refused-post", "200, byte for byte; 1 token request more"),
        ("error-200", "none lost; 1 token request, 1 refused at the API"),
        ("sse", "second after"),
        ("abort-rotation", "grant alive; the next request: 200; 2 token requests in all"),
        ("cost", " MiB"),
    ],
)
def test_the_product_is_put_before_a_fault_and_its_row_is_written(row, words, tmp_path, capsys):
    file = tmp_path / "scoreboard.md"

    status = scoreboard.main(["--peers", "proxy", "--rows", row, "--page", str(file), "--report", str(tmp_path / "no")])

    table = file.read_text().replace("\N{MULTIPLICATION SIGN}", "x").partition("\n## ")[0]
    [line] = [each for each in table.splitlines() if each.startswith(f"| {ROW[row].title} ")]
    assert (status, words in line) == (0, True), (line, capsys.readouterr().out)


def test_every_fault_of_the_demo_has_its_row():
    assert [row.fault for row in ROWS if row.fault != "no-fault"] == [name for name in NAMES if name != "no-fault"]


def test_the_committed_page_has_every_row_and_no_other():
    lines = (ROOT / "docs" / "scoreboard.md").read_text(encoding="utf-8").partition("\n## ")[0].splitlines()

    assert [line.split(" | ")[0] for line in lines if line.startswith("| ") and "|" in line][1:] == [
        f"| {row.title}" for row in ROWS
    ]


def test_no_configuration_names_a_fixed_port():
    for file in FILES.glob("*.yaml"):
        assert "port_value: 1" not in file.read_text()
        assert all(part[0] in "@0" for part in file.read_text().split("127.0.0.1:")[1:])


def test_a_peer_that_is_missing_is_named_and_left_out():
    text = made({"revoked-token": {"iclient-proxy": GOOD}}, {"Envoy": "from PyPI; it could not be installed"})

    assert "Left out, since it was not there: Envoy (from PyPI; it could not be installed)." in text
    assert "| | iclient-proxy |" in text
    assert "Where others are better" not in text


def test_where_another_is_better_the_page_says_so():
    found = {
        "revoked-token": {"iclient-proxy": replace(GOOD, lost={"503": 2}), "Envoy": GOOD},
        "sse": {"iclient-proxy": Streamed(0.01, 2, whole=True), "Envoy": Streamed(0.01, 2, whole=True)},
        "cost": {"iclient-proxy": Cost(50, 40, "here"), "Envoy": Cost(60, 30, "here")},
        "abort-rotation": {"iclient-proxy": Failed("it did not start"), "Envoy": Cannot("no grant")},
        "refused-post": {
            "iclient-proxy": Failed("it did not start"),
            "Envoy": Posted("200", identical=True, token_requests=1),
        },
    }
    better = made(found).partition("## Where others are better")[2].partition("\n## ")[0]

    assert [line.split(":")[0].removeprefix("- ") for line in better.splitlines() if line.startswith("- ")] == [
        ROW["revoked-token"].title.partition(":")[0],
        ROW["cost"].title,
        ROW["refused-post"].title,
    ]


def test_each_figure_is_compared_for_itself_and_a_moment_is_no_difference():
    ours = Recovery(1.7, 25, {}, 2, 0)
    quicker, as_quick = Recovery(0.4, 25, {"502": 1}, 2, 0), Recovery(1.4, 25, {}, 2, 0)

    lines = beaten(ROW["empty-200"], {"iclient-proxy": ours, "Envoy": as_quick, "mitmproxy + addon": quicker})

    assert [line.partition(": ")[2].partition(": ")[2] for line in lines] == [
        "mitmproxy + addon, 0.4 beside 1.7 seconds to the first 200"
    ]


def test_few_token_requests_are_no_merit_where_they_helped_nobody():
    found = {"iclient-proxy": Burst(64, {"200": 64}, 1, 128), "Envoy": Burst(64, {"401": 64}, 0, 70)}

    assert beaten(ROW["concurrent-refusals"], found) == []


def test_where_nobody_is_better_the_page_says_that_too():
    text = made({"revoked-token": {"iclient-proxy": GOOD, "Envoy": replace(GOOD, seconds=None)}})

    assert "In no row of this run." in text
    assert beaten(ROW["revoked-token"], {"Envoy": GOOD}) == []


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (Recovery(None, 25, {"401": 3, "200 with the error": 1}, 0, 4),
         "**none in 25 s**, 4 lost (1 x 200 with the error, 3 x 401); no token requests, 4 refused at the API"),
        (Burst(64, {"200": 63, "no answer": 1}, 2, 130),
         "2 token requests; 63 x 200, 1 x no answer; 130 requests at the API"),
        (Steady(12, {"503": 11}, 0.25, 1), "11 x 503, half of them within 0.25 s; 1 token request in 12 s"),
        (Posted("401", identical=False, token_requests=0), "401, **not delivered**; no token requests more"),
        (Streamed(0, 2, whole=False), "**not both events**"),
        (Rotation("lost", "503", 3), "**grant lost**; the next request: 503; 3 token requests in all"),
        (Cost(50.4, 40.2, "here"), "50 µs, 40 MiB"),
        (Cost(50.4, 40.2, "here", 0.8), "50 µs (others had 80% of the core), 40 MiB"),
        (Cannot("no grant"), "cannot: no grant"),
        (Failed("it did not start"), "not measured: it did not start"),
    ],
)  # fmt: skip
def test_a_result_is_told_in_words(result, words):
    assert str(result).replace("\N{MULTIPLICATION SIGN}", "x") == words


def test_cost_and_memory_come_from_a_report_of_the_bench_if_there_is_one(tmp_path):
    written(tmp_path, results())

    found = costs(tmp_path / "report.json")

    assert set(found) == {"proxy"}
    assert str(found["proxy"]) == "38 µs, 48 MiB"
    assert "medians of 3 rounds" in found["proxy"].origin
    assert costs(tmp_path / "none.json") == {}


def test_a_report_without_loads_gives_no_cost(tmp_path):
    written(tmp_path, replace(results(), loads={}))

    assert json.loads((tmp_path / "report.json").read_text())["loads"] == {}
    assert costs(tmp_path / "report.json") == {}


def test_an_unknown_row_is_an_error_that_names_the_known_ones(capsys):
    with pytest.raises(SystemExit):
        scoreboard.main(["--rows", "nothing"])

    assert "known: revoked-token" in capsys.readouterr().err
