"""Dead names, scrapes, floods beside good requests: the short form of what `make nightly NIGHTLY=bounds` measures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.nightly import bounds

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.figures import Figure

SHORT = 0.03


def counted(figures: list[Figure], *bars: str) -> list[Figure]:
    """Return those that count; how long things take is for a machine of one's own."""
    return [each for each in figures if each.bar in bars]


@pytest.mark.case("T-53")
async def test_a_hundred_names_that_nobody_answers_for_cost_other_connections_nothing(tmp_path: Path):
    failed, dead = counted(await bounds.names(tmp_path, SHORT), "0", "504")

    assert failed.holds, failed.measured
    assert dead.holds, dead.measured


@pytest.mark.case("A-358")
async def test_a_hundred_scrapes_a_second_and_slow_ones_cost_no_request(tmp_path: Path):
    scraped, good = counted(await bounds.scrapes(tmp_path, SHORT), "no other", "0 failed")

    assert scraped.holds, scraped.measured
    assert good.holds, good.measured


@pytest.mark.case("L-283")
async def test_idle_streams_take_little_each(tmp_path: Path):
    each, _ = await bounds.idle(tmp_path, SHORT)

    assert each.holds, each.measured


@pytest.mark.case("L-281")
@pytest.mark.needs("prlimit")
async def test_a_flood_of_streams_to_both_listeners_fails_nobody_and_fills_no_log(tmp_path: Path):
    good, probes, lines = counted(await bounds.files(tmp_path, SHORT), "0", "≤ 1")

    assert good.holds, good.measured
    assert probes.holds, probes.measured
    assert lines.holds, lines.measured


@pytest.mark.case("L-284")
async def test_in_a_real_cgroup_the_kernel_does_not_end_it(tmp_path: Path):
    killed, *others = await bounds.memory(tmp_path, SHORT)
    if killed.measured.startswith("left out"):
        pytest.skip(killed.measured)

    assert killed.holds, killed.measured
    assert [each for each in others if not each.holds] == []
