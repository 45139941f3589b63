"""What only passes through: HTTP/2 in a blind tunnel, and a WebSocket that gets its token within intercepted TLS."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.clients.stage import ClientStage
from tests.conftest import program
from tests.support.stage import Case

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.upstream import Request

pytestmark = pytest.mark.asyncio(loop_scope="module")

FORWARD = {"intercept": {"enabled": True}}
HTTP2 = """
const { readFileSync } = require("node:fs");
const [cert, key] = process.argv.slice(1).map((path) => readFileSync(path));
const server = require("node:http2").createSecureServer({ cert, key }, (request, response) => {
  response.end(`${request.httpVersion} ${request.headers.authorization ?? "no token"}`);
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
"""
WEBSOCKET = """
import asyncio, sys
import aiohttp

async def main():
    async with aiohttp.ClientSession(trust_env=True) as session:
        async with session.ws_connect(sys.argv[1]) as socket:
            await socket.send_str("over there")
            print(await socket.receive_str())

asyncio.run(main())
"""


async def prepare(stage: ClientStage) -> None:
    """Make the authority, and a certificate for a server that is not ours to intercept."""
    await stage.product("ca init")
    issued = stage.authority.issue_cert("*.example.com")
    issued.private_key_pem.write_to_path(str(stage.folder / "leaf-key.pem"))
    (stage.folder / "leaf.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))


@asynccontextmanager
async def http2(stage: ClientStage) -> AsyncIterator[int]:
    """Run Node's HTTP/2 server; yield its port."""
    running = await asyncio.create_subprocess_exec(
        program("node") or "node", "--eval", HTTP2, str(stage.folder / "leaf.pem"), str(stage.folder / "leaf-key.pem"),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert running.stdout is not None
    try:
        yield int(await running.stdout.readline())
    finally:
        running.kill()
        await running.communicate()


@pytest.mark.needs("curl", "node")
async def test_http_2_passes_through_a_tunnel_to_a_host_that_nobody_claims(stage: ClientStage, tmp_path: Path):
    async with http2(stage) as port:
        said = await stage.run(
            f"curl -sS --http2 --cacert {stage.folder}/upstream-ca.pem https://nobody.example.com:{port}/",
            "curl",
            folder=tmp_path,
        )

    assert (said.status, said.out) == (0, "2.0 no token"), said


async def answers_websocket(request: Request) -> None:
    """Agree as RFC 6455 §4.2.2 says, then send back a text frame without its mask, and a close frame."""
    [key] = request.values(b"sec-websocket-key")
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    stream = request.stream
    request.finished = True
    await request.send(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    await stream.until_size(2)
    length = stream.buffer[1] & 0x7F
    await stream.until_size(6 + length)
    mask, masked = stream.buffer[2:6], stream.buffer[6 : 6 + length]
    text = bytes(each ^ mask[place % 4] for place, each in enumerate(masked))
    await stream.write(bytes([0x81, length]) + text + b"\x88\x02\x03\xe8")
    await request.gone()


async def test_a_websocket_within_intercepted_tls_gets_its_token(case: Case, stage: ClientStage, tmp_path: Path):
    case.upstream.always(answers_websocket)
    (tmp_path / "app.py").write_text(WEBSOCKET)

    said = await stage.run(f"python app.py https://{case.name}.example.com/ws", "python", folder=tmp_path)

    assert (said.status, said.out) == (0, "over there\n"), said
    [request] = case.upstream.requests
    assert request.token == case.token()
