"""Clients that know nothing but `env`'s output: absolute form, to an upstream on http and, upgraded, to one on https.

They trust no authority of ours: the upstream's certificate is the proxy's to verify.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.clients import Client, parameters
from tests.clients.stage import ClientStage, Upload, assert_replaced, refuses_the_second_request, sha256
from tests.support.stage import Case

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("door", ["absolute", "upgrade"])
@pytest.mark.parametrize("client", parameters())
async def test_a_token_is_put_on_and_a_refused_one_is_replaced_with_the_body_intact(
    client: Client, door: str, case: Case, stage: ClientStage, upload: Upload, classes: Path, tmp_path: Path
):
    case.upstream.always(refuses_the_second_request)

    said = await stage.applied(
        client.script, client.runtime, f"http://{case.name}.example.com", upload, classes, tmp_path
    )

    assert_replaced(case, said, upload)


@pytest.mark.parametrize("door", ["absolute"])
@pytest.mark.parametrize("client", parameters())
async def test_what_goes_past_the_proxy_does(
    client: Client, door: str, case: Case, stage: ClientStage, upload: Upload, classes: Path, tmp_path: Path
):
    case.upstream.always(refuses_the_second_request)

    said = await stage.applied(
        client.script, client.runtime, f"http://localhost:{case.upstream.port}", upload, classes, tmp_path
    )

    assert (said.status, said.lines) == (0, [f"200 {sha256(b'')}", f"200 {upload.digest}"]), said
    assert [request.token for request in case.upstream.requests] == ["", ""]
    assert [request.target for request in case.upstream.requests] == [b"/first", b"/second"]
    assert case.token_requests == 0
