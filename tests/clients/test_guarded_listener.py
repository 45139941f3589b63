"""A listener that wants a credential: every client sends the one that `env` puts in, and it goes no further."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.clients import Client, parameters
from tests.clients.stage import ClientStage, Upload, refuses_the_second_request
from tests.support.stage import SECRET, Case

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Java takes no credential from options; `env` and the guide say so.
ABLE = [each for each in parameters() if each.values[0].name != "java"]
FORWARD = {"proxy_auth": {"username": "alice", "password": {"env": "CLIENT_SECRET"}}}


@pytest.mark.parametrize("client", ABLE)
async def test_a_client_sends_the_credential_and_the_upstream_never_sees_it(
    client: Client, case: Case, stage: ClientStage, upload: Upload, tmp_path: Path
):
    case.upstream.always(refuses_the_second_request)
    printed = await stage.env(client.runtime)

    wrong, right = [
        await stage.run(
            client.script,
            client.runtime,
            folder=tmp_path,
            URL=f"http://{case.name}.example.com",
            FILE=upload.path,
            PROXY_PASSWORD=password,
        )
        for password in ("wrong", SECRET)
    ]

    assert SECRET not in printed
    assert upload.digest not in wrong.out
    assert (right.status, right.lines[-1]) == (0, f"200 {upload.digest}"), right
    assert len(case.upstream.requests) == 3
    assert [request.values(b"proxy-authorization") for request in case.upstream.requests] == [[], [], []]
