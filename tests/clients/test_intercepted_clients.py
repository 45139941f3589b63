"""The same clients with https:// in their URLs: TLS is ended here, by the local authority that `env` has them trust."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.clients import Client, parameters
from tests.clients.stage import ClientStage, Upload, assert_replaced, refuses_the_second_request
from tests.support.stage import Case

pytestmark = pytest.mark.asyncio(loop_scope="module")

FORWARD = {"intercept": {"enabled": True}}


async def prepare(stage: ClientStage) -> None:
    """Make the authority."""
    await stage.product("ca init")


@pytest.mark.parametrize("client", parameters(https=True))
async def test_a_token_is_put_on_within_tls_and_a_refused_one_is_replaced_with_the_body_intact(
    client: Client, case: Case, stage: ClientStage, upload: Upload, classes: Path, tmp_path: Path
):
    case.upstream.always(refuses_the_second_request)

    said = await stage.applied(
        client.script, client.runtime, f"https://{case.name}.example.com", upload, classes, tmp_path
    )

    assert_replaced(case, said, upload)


@pytest.mark.parametrize("client", parameters(https=True))
async def test_a_client_that_is_not_told_of_the_authority_does_not_trust_it(
    client: Client, case: Case, stage: ClientStage, upload: Upload, classes: Path, tmp_path: Path
):
    forget = (
        "unset CURL_CA_BUNDLE WGETRC SSL_CERT_FILE REQUESTS_CA_BUNDLE NODE_EXTRA_CA_CERTS PERL_LWP_SSL_CA_FILE\n"
        "unset PHP_INI_SCAN_DIR"
    )
    java = """export JAVA_TOOL_OPTIONS="$(echo "${JAVA_TOOL_OPTIONS:-}" | sed 's/-Djavax[^ ]*//g')\""""

    said = await stage.applied(
        f"{forget}\n{java}\n{client.script}",
        client.runtime,
        f"https://{case.name}.example.com",
        upload,
        classes,
        tmp_path,
    )

    assert "200 " + upload.digest not in said.out
    assert (case.upstream_requests, case.token_requests) == (0, 0)
