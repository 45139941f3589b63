import json
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from bench import report
from bench.measure import Memory, Results
from bench.rows import BARS
from tests.bench.test_figures import GOOD

FACTS = {"processor": "some", "interpreter": {"lto": False}, "interpreter_in_words": "CPython (plain build)"}
PEERS = {"nginx": "1.2.3", "envoy": "4.5.6", "proxy": "0.1.0"}


def sample(microseconds):
    return replace(GOOD, cpu_seconds=microseconds * GOOD.amount / 1e6)


def written(folder, found):
    """Write the report and return its Markdown, dashes and signs as a keyboard has them."""
    text = report.write(folder, found, FACTS, PEERS)
    return text.replace("\N{MULTIPLICATION SIGN}", "x").replace("\N{EN DASH}", "-")


def results(**more):
    rounds = [{"nginx": sample(20.0), "envoy": sample(60.0), "proxy": sample(ours)} for ours in (36.0, 38.0, 40.0)]
    memory = [{"proxy": Memory(0.3, 50e6, 60e6, 2048.0, 300 * 1024.0)}]
    return Results(loads={"small-64": rounds}, memory=memory, **more)


def test_the_bar_stands_beside_what_was_measured(tmp_path):
    text = written(tmp_path, results())

    assert "| small answers, CPU per request, log off | ≤ 1.6 x nginx | 1.90 x | 1.80-2.00 | **short** |" in text
    assert "| memory per stalled stream | ≤ 256 KiB | 300 KiB | 300-300 | **short** |" in text
    assert "| 1 MiB, MB/s, log on | ≥ 1 x nginx | - x | - | not measured |" in text
    assert sum(f"| {bar.title} | " in text for bar in BARS) == len(BARS)


def test_a_row_shows_cost_and_ratios_to_nginx_and_envoy(tmp_path):
    text = written(tmp_path, results())

    assert "| proxy | 38.0 | 36.0-40.0 | 1.90 | 0.63 | 19.0 | 500 | 0.90 | 2.50 | 10 % |" in text


def test_a_latency_stands_beside_its_bar_as_what_it_is_above_the_others(tmp_path):
    rounds = [{"nginx": replace(GOOD, p99=4000.0), "proxy": replace(GOOD, p99=4000.0 + ours)} for ours in (900, 1500)]

    text = written(tmp_path, Results(loads={"open": rounds}))

    assert "| 2,000 requests/s, p99, log off | ≤ 2 ms above nginx | 1.20 ms | 0.90-1.50 | pass |" in text


def test_millicores_memory_and_start_stand_beside_their_bars(tmp_path):
    rounds = [{"proxy-log": replace(GOOD, seconds=4.0, cpu_seconds=0.3)}]
    memory = [{"proxy": Memory(0.3, 57.0 * 1024 * 1024, 60e6, 2048.0, 1.0)}]

    text = written(tmp_path, Results(loads={"sidecar": rounds}, memory=memory, starts=[{"proxy-100": 0.7}]))

    assert "| 500 requests/s, log on | ≤ 60 millicores | 75.0 millicores | 75.0-75.0 | **short** |" in text
    assert "| memory at rest | ≤ 56 MiB | 57.0 MiB | 57.0-57.0 | within 5 % |" in text
    assert "| exec to ready, 100 connections | ≤ 0.8 s | 0.70 s | 0.70-0.70 | pass |" in text
    assert "| proxy-100 | 700 (700-700) |" in text


def test_the_interpreters_build_is_named(tmp_path):
    assert "CPython (plain build)" in written(tmp_path, results())


def test_a_report_whose_counts_disagree_fails_and_says_where(tmp_path):
    found = results(mismatches=["small-64, proxy, round 1: the upstream counted 7"])

    text = written(tmp_path, found)

    assert report.failed(found)
    assert "FAILED" in text
    assert "- small-64, proxy, round 1: the upstream counted 7" in text
    assert json.loads((tmp_path / "report.json").read_text())["mismatches"] == found.mismatches


def test_a_report_whose_counts_agree_does_not_fail_even_when_rows_fall_short(tmp_path):
    assert not report.failed(results())
    assert "FAILED" not in written(tmp_path, results())


def test_a_peer_that_is_missing_is_named(tmp_path):
    text = written(tmp_path, results(left_out={"caddy": "from PyPI\nmore"}))

    assert "- left out: caddy (from PyPI)" in text


def test_the_same_figures_are_there_as_json(tmp_path):
    written(tmp_path, results())

    said = json.loads((tmp_path / "report.json").read_text())

    assert said["machine"] == FACTS
    assert said["loads"]["small-64"][2]["proxy"]["cpu_seconds"] == pytest.approx(0.04)
    assert said["bars"][0]["measured"]["median"] == pytest.approx(1.9)
    assert said["bars"][0]["verdict"] == "short"


def test_the_plot_is_a_picture_with_a_bar_for_each_peer(tmp_path):
    written(tmp_path, results())

    picture = ET.fromstring((tmp_path / "cost.svg").read_text())
    words = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]

    assert {"nginx", "envoy", "proxy", "38"} <= set(words)


def test_a_row_that_falls_short_shows_where_its_time_goes(tmp_path):
    found = results(profiles={"small-64": {"nginx": {"kernel": 16.0}, "proxy": {"kernel": 20.0, "python3.11": 15.5}}})

    text = written(tmp_path, found)

    assert [(bar.row, bar.limit) for bar in report.short(found)] == [
        ("small-64", 1.6), ("small-64", 0.6), ("memory", 256.0),
    ]  # fmt: skip
    assert "| | nginx | proxy |\n|---|--:|--:|\n| kernel | 16.0 | 20.0 |\n| python3.11 | - | 15.5 |\n" in text
