"""What may be dialled follows the definitions, the listeners and the cluster that the proxy runs in."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.datapath.test_connect import ESTABLISHED, asked, connect, refusal, tunnel
from tests.support.destination import Destination
from tests.support.stage import Stage

if TYPE_CHECKING:
    from pathlib import Path


def listeners(**forward: Any) -> dict[str, Any]:
    return {
        "reverse": {"bind": "127.0.0.1:0"},
        "forward": {"bind": "127.0.0.1:0", **forward},
        "admin": {"bind": "127.0.0.1:0"},
    }


@pytest.mark.case("F-246", "F-257")
async def test_what_a_reload_denies_is_denied_from_then_on(tmp_path: Path):
    stage = Stage({"crm": {}}, {"listeners": listeners()})
    written = stage.definitions()
    await stage.start(tmp_path)
    case = await stage.case("crm")
    try:
        async with Destination() as destination:
            client, far = await tunnel(case, destination)
            wanted = {**written, "listeners": listeners(deny=["127.0.0.0/8"])}
            (tmp_path / "definitions.yaml").write_text(json.dumps(wanted))
            stage.process.signal(signal.SIGHUP)
            await stage.process.until_logged("reload", outcome="applied")

            assert await refusal(case, connect(destination.authority)) == (403, "destination_prohibited")
            assert destination.accepted == 1
            await client.send(b"what is open stays open")
            assert await far.read_exactly(23) == b"what is open stays open"
            own = b"127.0.0.1:%d" % stage.process.admin[1]
            assert await refusal(case, connect(own)) == (502, "proxy_loop_detected")
    finally:
        await case.close()
        await stage.close()


@pytest.mark.case("F-247")
async def test_the_api_server_of_the_cluster_is_for_those_that_claim_it(tmp_path: Path):
    async with Destination("127.0.0.77") as claimed, Destination("127.0.0.77") as unclaimed:
        stage = Stage({"crm": {"base_url": f"http://127.0.0.77:{claimed.port}"}}, {"listeners": listeners()})
        await stage.start(tmp_path, environment={"KUBERNETES_SERVICE_HOST": "127.0.0.77"})
        case = await stage.case("crm")
        try:
            other = b"127.0.0.77:%d" % unclaimed.port
            assert await refusal(case, connect(other)) == (403, "destination_prohibited")
            client = await asked(case, connect(b"127.0.0.77:%d" % claimed.port))
            assert await client.read_until(b"\r\n\r\n") == ESTABLISHED
            await claimed.stream()
            client.reset()
            assert unclaimed.accepted == 0
        finally:
            await case.close()
            await stage.close()
