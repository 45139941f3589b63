"""A client known by its certificate (RFC 8705): who sees it, what goes with it, and who is told when it ends."""

from __future__ import annotations

import datetime as dt
import ssl
from typing import TYPE_CHECKING

import pytest
import trustme

from tests.support.authorization_server import AuthorizationServer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lifecycle.conftest import Play

DAY = dt.timedelta(days=1)


@pytest.mark.case("T-401")
async def test_the_certificate_is_shown_to_the_token_endpoint_alone_and_its_end_to_operators(
    play: Play, tmp_path: Path
):
    authority = trustme.CA()
    end = dt.datetime.now(dt.UTC).replace(microsecond=0) + 10 * DAY
    ours = authority.issue_cert("client.example", not_after=end)
    for name, blob in (
        ("cert.pem", ours.cert_chain_pems[0]), ("key.pem", ours.private_key_pem), ("ca.pem", authority.cert_pem)
    ):  # fmt: skip
        blob.write_to_path(str(tmp_path / name))
        (tmp_path / name).chmod(0o600)
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server_side)
    authority.configure_trust(server_side)
    server_side.verify_mode = ssl.CERT_REQUIRED

    async with AuthorizationServer(tls=server_side) as server:
        case = await play(
            {
                "iclient": {
                    "grant_type": "client_credentials",
                    "client_auth": "tls_client_auth",
                    "token_url": server.url,
                    "client_id": "app",
                    "valid_domains": [server.authority],
                    "tls": {"ca": "ca.pem", "client_cert": "cert.pem", "client_key": "key.pem"},
                }
            }
        )
        answered = await case.ask(case.request())

        assert (answered.status, server.T) == (200, 1)
        [asked] = server.asked
        assert asked.form == {"grant_type": "client_credentials", "client_id": "app"}
        assert asked.values("authorization") == []
        process = case.stage.process
        told = [line for line in process.logged("definitions") if line["warning"] == "client_certificate_expires_soon"]
        assert len(told) == 1
        series = 'client_certificate_expiry_timestamp_seconds{connection="c0",peer="authorization_server"}'
        assert await process.metric(series) == end.timestamp()
        assert await process.metric(series.replace("authorization_server", "upstream")) == 0.0
