"""Clients that know nothing but `env`'s output: absolute form, to an upstream on http and, upgraded, to one on https.

They trust no authority of ours: the upstream's certificate is the proxy's to verify.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.clients import Client, parameters
from tests.clients.stage import ClientStage, Upload, refuses_the_second_request, sha256
from tests.support.stage import Case

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("door", ["absolute", "upgrade"])
@pytest.mark.parametrize("client", parameters())
async def test_a_token_is_put_on_and_a_refused_one_is_replaced_with_the_body_intact(
    client: Client, door: str, case: Case, stage: ClientStage, upload: Upload, classes: Path, tmp_path: Path
):
    case.upstream.always(refuses_the_second_request)

    said = await stage.run(
        client.script,
        client.runtime,
        folder=tmp_path,
        URL=f"http://{case.name}.example.com",
        FILE=upload.path,
        CLASSES=str(classes),
    )

    first, refused, replayed = case.upstream.requests
    assert (said.status, said.lines) == (0, [f"200 {sha256(b'')}", f"200 {upload.digest}"]), said
    assert [first.token, refused.token, replayed.token] == [case.token(1), case.token(1), case.token(2)]
    assert [sha256(refused.body), sha256(replayed.body)] == [upload.digest, upload.digest]
    assert [request.target for request in case.upstream.requests] == [b"/first", b"/second", b"/second"]
    assert case.token_requests == 2


@pytest.mark.parametrize("door", ["absolute"])
@pytest.mark.parametrize("client", parameters())
async def test_what_goes_past_the_proxy_does(
    client: Client, door: str, case: Case, stage: ClientStage, upload: Upload, classes: Path, tmp_path: Path
):
    case.upstream.always(refuses_the_second_request)

    said = await stage.run(
        client.script,
        client.runtime,
        folder=tmp_path,
        URL=f"http://localhost:{case.upstream.port}",
        FILE=upload.path,
        CLASSES=str(classes),
    )

    assert (said.status, said.lines) == (0, [f"200 {sha256(b'')}", f"200 {upload.digest}"]), said
    assert [request.token for request in case.upstream.requests] == ["", ""]
    assert [request.target for request in case.upstream.requests] == [b"/first", b"/second"]
    assert case.token_requests == 0
