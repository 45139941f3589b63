"""Load, check, bind, serve: either all listeners are open or the process says why not and leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.process import Process
from tests.support.stage import SECRET, Stage
from tests.support.upstream import listen

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lifecycle.conftest import Play

PORT_TAKEN = 71
DEFINITIONS_AT_FAULT = 78


def definitions(**listeners: dict[str, Any]) -> dict[str, Any]:
    stage = Stage({"c0": {}}, {})
    found = stage.definitions()
    stage.forsake()
    return {**found, "listeners": {**found["listeners"], **listeners}}


@pytest.mark.case("L-295")
@pytest.mark.parametrize("listener", ["reverse", "admin"])
async def test_a_port_that_is_taken_is_named_with_its_listener_and_nothing_starts(tmp_path: Path, listener: str):
    with listen() as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        process = await Process.start(definitions(**{listener: {"bind": address}}), tmp_path, {"CLIENT_SECRET": SECRET})
        status = await process.exit_status()
        await process.stop()
    assert status == PORT_TAKEN
    process.assert_clean()
    assert address in process.output
    assert listener in process.output
    assert "address_in_use" in process.output or "in use" in process.output


@pytest.mark.case("L-295")
async def test_definitions_at_fault_bind_nothing(tmp_path: Path):
    faulty = definitions()
    faulty["connections"]["c0"]["no_such_key"] = 1
    faulty["connections"]["c0"]["iclient"]["grant_type"] = "client_credentialz"
    process = await Process.start(faulty, tmp_path, {"CLIENT_SECRET": SECRET})
    status = await process.exit_status()
    await process.stop()
    assert status == DEFINITIONS_AT_FAULT
    process.assert_clean()
    assert "no_such_key" in process.output
    assert "client_credentials" in process.output
    assert "listening" not in process.output


@pytest.mark.case("L-295")
async def test_a_port_is_free_again_for_the_next_process(play: Play, tmp_path: Path):
    case = await play()
    address = "{}:{}".format(*case.stage.process.reverse)
    client = await case.connect()
    assert (await client.ask(case.request())).status == 200
    assert await case.stage.process.stop() == 0  # our side closed first: its port rests in TIME_WAIT
    again = await Process.start(definitions(reverse={"bind": address}), tmp_path, {"CLIENT_SECRET": SECRET})
    await again.until_listening()
    assert again.reverse == case.stage.process.reverse
    assert await again.stop() == 0
    again.assert_clean()
