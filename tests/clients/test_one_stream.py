"""One stream to the proxy, many hosts: a client that keeps its stream must not carry a token from one to the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.stage import ClientStage
from tests.support.scripts import OK_BODY, replies, response
from tests.support.stage import Case
from tests.support.upstream import Upstream, listen

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.needs("curl")]

URLS = {"other": "https://other.example.com"}
CURL = "curl -sS -L -w ' %{num_connects}\\n' "


async def test_each_host_gets_its_own_token_on_a_stream_that_is_kept(case: Case, stage: ClientStage, tmp_path: Path):
    other = await stage.opened("other")
    nobody = Upstream(listen())
    await nobody.start()
    hosts = [f"{case.name}.example.com", "other.example.com", f"nobody.example.com:{nobody.port}"] * 2

    try:
        said = await stage.run(CURL + " ".join(f"http://{host}/x" for host in hosts), "curl", folder=tmp_path)
    finally:
        await other.close()
        await nobody.close()

    assert (said.status, said.lines) == (0, [f"{OK_BODY.decode()} {n}" for n in (1, 0, 0, 0, 0, 0)]), said
    assert [request.token for request in case.upstream.requests] == [case.token()] * 2
    assert [request.token for request in other.upstream.requests] == [other.token()] * 2
    assert [request.values(b"authorization") for request in nobody.requests] == [[], []]


async def test_a_redirect_to_a_host_that_nobody_claims_leaves_the_token_behind(
    case: Case, stage: ClientStage, tmp_path: Path
):
    nobody = Upstream(listen())
    await nobody.start()
    there = f"http://nobody.example.com:{nobody.port}/there"
    case.upstream.answers(replies(response(b"", b"Location: " + there.encode(), status=b"302 Found")))

    try:
        said = await stage.run(f"{CURL} http://{case.name}.example.com/here", "curl", folder=tmp_path)
    finally:
        await nobody.close()

    assert (said.status, said.lines) == (0, [f"{OK_BODY.decode()} 1"]), said
    assert [request.token for request in case.upstream.requests] == [case.token()]
    assert [(request.target, request.values(b"authorization")) for request in nobody.requests] == [(b"/there", [])]
