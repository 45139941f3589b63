"""Peers that mean harm, in the short form of `make nightly NIGHTLY=hostile`: counts and bytes, no time is asserted."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element

import pytest

from proxy.definitions.xpath import XPath
from proxy.exchange.document import read_document
from tests.nightly.bombs import bombs
from tests.nightly.floods import header_floods, interim_floods, one_byte_chunks
from tests.nightly.slow_peers import slow_clients, slow_reads, unread_upload

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.figures import Figure


def short(rows: list[Figure]) -> list[Figure]:
    """Return what falls short."""
    return [row for row in rows if not row.holds]


@pytest.mark.case("D-164", "D-172", "D-173", "D-174")
async def test_slow_heads_and_bodies_are_closed_and_counted_beside_good_requests(tmp_path: Path):
    _, failed, _, counted, *_ = await slow_clients(tmp_path, 0.06, seconds=0.5)

    assert short([failed, counted]) == []
    assert counted.measured == "60"


@pytest.mark.case("D-175")
async def test_clients_that_read_nothing_hold_little_and_are_cut(tmp_path: Path):
    assert short(await slow_reads(tmp_path, 0.2, seconds=1.0)) == []


@pytest.mark.case("D-181")
async def test_uploads_that_nobody_reads_hold_little_and_arrive_later(tmp_path: Path):
    assert short(await unread_upload(tmp_path, 0.02)) == []


@pytest.mark.case("P-213")
async def test_heads_without_end_reach_nobody(tmp_path: Path):
    assert short(await header_floods(tmp_path, 0.01)) == []


@pytest.mark.case("P-217")
async def test_interim_responses_without_end_are_cut_off(tmp_path: Path):
    assert short(await interim_floods(tmp_path, 0.04)) == []


@pytest.mark.case("D-124")
async def test_chunks_of_one_byte_pass_both_ways_and_leave_nothing(tmp_path: Path):
    assert short(await one_byte_chunks(tmp_path, 0.03)) == []


@pytest.mark.case("P-240", "P-242")
async def test_bodies_that_are_made_to_cost_are_relayed_as_they_came(tmp_path: Path):
    _, grown, unlike, failed = await bombs(tmp_path, 0.02)

    assert short([grown, unlike, failed]) == []


def test_an_xml_body_that_was_read_waits_for_no_collector():
    gc.collect()
    gc.disable()
    try:
        before = elements()
        document = read_document(b"<a>" + b"<b>text</b>" * 100 + b"</a>", json=False, xml=True)
        assert elements() > before
        assert document.at(XPath("//*[local-name()='c']")) == ()  # type: ignore[union-attr]
        del document

        assert elements() == before
    finally:
        gc.enable()


def elements() -> int:
    return sum(isinstance(each, Element) for each in gc.get_objects())
