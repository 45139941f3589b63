"""Clients that say whose they are, where two connections claim one host."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytest_asyncio

from tests.clients.clients import Client, parameters
from tests.clients.stage import ClientStage, Upload, refuses_the_second_request

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Java takes no credential from options; `env` and the guide say so.
ABLE = [each for each in parameters() if each.values[0].name != "java"]
TENANTS = {"shop-eu": "https://shop.example.com", "shop-us": "https://shop.example.com"}
URLS = TENANTS


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tenants(stage: ClientStage):
    cases = {name: await stage.opened(name) for name in TENANTS}
    for case in cases.values():
        case.upstream.always(refuses_the_second_request)
    yield cases
    for case in cases.values():
        await case.close()


@pytest.mark.parametrize("client", ABLE)
async def test_the_user_name_in_the_proxys_url_tells_two_tenants_of_one_host_apart(
    client: Client, tenants: dict, stage: ClientStage, upload: Upload, tmp_path: Path
):
    before = {name: case.upstream_requests for name, case in tenants.items()}

    said = await stage.run(
        client.script,
        client.runtime,
        "--connection shop-us",
        folder=tmp_path,
        URL="http://shop.example.com",
        FILE=upload.path,
    )

    asked = tenants["shop-us"].upstream.requests[before["shop-us"] :]
    assert (said.status, said.lines[-1]) == (0, f"200 {upload.digest}"), said
    assert {request.token.rpartition("-")[0] for request in asked} == {"canary-token-shop-us"}
    assert [request.values(b"proxy-authorization") for request in asked] == [[]] * len(asked)
    assert tenants["shop-eu"].upstream_requests == before["shop-eu"]
