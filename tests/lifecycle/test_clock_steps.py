"""The process on a machine whose wall clock is set while it serves."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.stage import Stage

LIFETIME = 1800


def library() -> str:
    """Return where the package keeps what stands before the C library's clocks."""
    [found] = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
    return str(found)


@pytest.mark.needs("faketime")
@pytest.mark.case("R-391", "R-392")
async def test_a_wall_clock_that_is_set_costs_one_token_for_each_step_ahead_and_no_request(tmp_path: Path):
    offset = tmp_path / "offset"
    offset.write_text("+0\n")
    stage = Stage({"c0": {}}, {})
    stage.tokens.members["c0"] = {"expires_in": LIFETIME}
    stage.environment |= {
        "LD_PRELOAD": library(),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    await stage.start(tmp_path)
    case = await stage.case("c0")
    try:
        client = await case.warm()
        costs = []
        for step in ("+1h", "+0", "-1h", "+1d", "-1d", "+2d"):
            offset.write_text(step + "\n")
            before = case.token_requests
            statuses = {(await client.ask(case.request())).status for _ in range(20)}
            costs.append((step, statuses, case.token_requests - before))

        assert costs == [
            ("+1h", {200}, 1),
            ("+0", {200}, 0),
            ("-1h", {200}, 0),
            ("+1d", {200}, 1),
            ("-1d", {200}, 0),
            ("+2d", {200}, 1),
        ]
    finally:
        await case.close()
        await stage.close()
