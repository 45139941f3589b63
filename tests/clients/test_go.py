"""A Go program that Debian brings: promtool asks a server for the value of a query, by the defaults of net/http."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.clients.stage import ClientStage
from tests.support.scripts import response, unauthorized
from tests.support.stage import Case

if TYPE_CHECKING:
    from tests.support.upstream import Request

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.needs("promtool")]

FORWARD = {"intercept": {"enabled": True}}
ANSWER = (
    b'{"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1767323045, "42"]}]}}'
)


async def prepare(stage: ClientStage) -> None:
    """Make the authority."""
    await stage.product("ca init")


async def answers_queries(request: Request) -> None:
    """Refuse the first token, as if it had been revoked."""
    body = await request.read_body()
    if request.token.endswith("-1"):
        await request.send(unauthorized())
    else:
        assert b"query=orders" in body
        await request.send(response(ANSWER, b"Content-Type: application/json"))


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_go_program_reads_the_variables_and_trusts_the_bundle(
    scheme: str, case: Case, stage: ClientStage, tmp_path: Path
):
    case.upstream.always(answers_queries)

    said = await stage.run(f"promtool query instant {scheme}://{case.name}.example.com orders", "go", folder=tmp_path)

    assert (said.status, said.out) == (0, "{} => 42 @[1767323045]\n"), said
    refused, replayed = case.upstream.requests
    assert refused.body == replayed.body
    assert (refused.token, replayed.token) == (case.token(1), case.token(2))
    assert case.token_requests == 2


async def test_loopback_is_never_taken_to_the_proxy_by_go(case: Case, stage: ClientStage, tmp_path: Path):
    said = await stage.run(
        f"unset no_proxy NO_PROXY; promtool query instant https://localhost:{case.upstream.port} orders",
        "go",
        folder=tmp_path,
    )

    assert "certificate" in said.err  # of the upstream itself, which has none for that name
    assert (case.upstream_requests, case.token_requests) == (0, 0)
