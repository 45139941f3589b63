"""A process that stands still, or a loop that does: nothing that has come meanwhile is taken for late."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.waits import PATIENCE, STILL, WAITS, stand_still

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.case("L-285")
async def test_what_came_while_the_process_stood_still_came_in_time(tmp_path: Path):
    found, process = await stand_still(tmp_path)

    assert found == {**{kind: [True] for kind in WAITS}, "noticed": [True]}
    [said] = process.logged("loop_stalled")
    assert said["seconds"] > PATIENCE * STILL - 1
