"""A sample of the cuts of `make nightly`: a response or request with bytes missing never passes for a whole one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.nightly.cut_clients import cut_for_clients
from tests.nightly.cut_requests import cut_requests
from tests.nightly.cut_shapes import SHAPES, End
from tests.nightly.cut_stage import Door
from tests.nightly.cuts import cut_responses, every_cut, sampled

if TYPE_CHECKING:
    from pathlib import Path

SEED = 7


@pytest.mark.case("P-224", "P-225", "P-226", "P-227", "P-241")
async def test_of_hundreds_of_cut_responses_none_looks_whole(tmp_path: Path):
    cuts = sampled(every_cut(SEED), 0.02, SEED)

    found = await cut_responses(tmp_path, cuts, SEED)

    assert found.seen + found.passed_on == len(cuts)
    assert (found.hidden, found.claimed) == ([], [])
    assert found.passed_on > 0
    assert found.visible["broken off"] > 100
    assert found.visible["own answer"] > 100


def test_every_offset_of_every_shape_is_cut_by_every_end():
    cuts = [cut for cut in every_cut(SEED) if cut.door is Door.REVERSE]

    for shape in SHAPES:
        for tls, ends in ((False, (End.FIN, End.RESET)), (True, tuple(End))):
            for end in ends:
                at = [cut.at for cut in cuts if (cut.shape, cut.tls, cut.end) == (shape, tls, end)]
                assert at == list(range(len(shape.raw)))


@pytest.mark.needs("curl", "node")
@pytest.mark.case("P-224", "P-225", "P-226")
async def test_clients_of_applications_see_that_a_response_is_cut(tmp_path: Path):
    rows = await cut_for_clients(tmp_path, every_cut(SEED), 25, SEED)

    assert [row for row in rows if not row.holds] == []


@pytest.mark.case("D-163", "D-176")
async def test_of_hundreds_of_cut_requests_no_upstream_takes_one_for_whole(tmp_path: Path):
    rows = await cut_requests(tmp_path, 0.05, SEED)

    assert [row for row in rows if not row.holds] == []
