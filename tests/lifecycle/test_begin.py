"""A signal at whatever moment of the start: the process ends in peace, and the next one finds everything in order."""

from __future__ import annotations

import base64
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.support.authorization_server import AuthorizationServer, token
from tests.support.process import Process
from tests.support.stage import SECRET

if TYPE_CHECKING:
    from pathlib import Path

SOON: Final = 30.0  # seconds, strace on a busy machine included; below the grace that is set
KEY: Final = base64.b64encode(bytes(range(32))).decode()
# Where the signal comes: system calls of the start, in the order in which they happen.
MOMENTS: Final = {
    "the definitions are read": "openat:signal=SIGTERM -P definitions.yaml",
    "the first thread begins": "clone3,clone:signal=SIGTERM:when=1",
    "the first socket is bound": "bind:signal=SIGTERM:when=1",
    "the first one listens": "listen:signal=SIGTERM:when=1",
    "the second socket is bound": "bind:signal=SIGTERM:when=2",
    "the second one listens": "listen:signal=SIGTERM:when=2",
    "the folder of the store is made": "mkdir,mkdirat:signal=SIGTERM:when=1",
    "the token endpoint is called": "connect:signal=SIGTERM:when=1",
    "the grant is on its way to the disk": "fsync:signal=SIGTERM:when=1",
    "the grant gets its name": "rename,renameat,renameat2:signal=SIGTERM:when=1",
    "the folder of the grants is saved": "fsync:signal=SIGTERM:when=2",
}


def _within(folder: Path, moment: str) -> tuple[str, ...]:
    inject, _, path = MOMENTS[moment].partition(" -P ")
    calls = inject.partition(":")[0]
    where = ("-P", str(folder / path)) if path else ()
    traced = ("-e", f"trace={calls}", "-e", f"inject={inject}", "-o", str(folder / "traced"))
    return ("strace", "-D", "-f", *where, *traced)


def _definitions(folder: Path, server: AuthorizationServer) -> dict[str, Any]:
    return {
        "listeners": {"reverse": {"bind": "127.0.0.1:0"}, "admin": {"bind": "127.0.0.1:0"}},
        "shutdown": {"drain_delay": "300ms", "grace": "60s"},
        "store": {"kind": "file", "path": str(folder / "grants"), "key": {"env": "KEYS"}},
        "connections": {
            "c0": {
                "base_url": "http://127.0.0.1:9",
                "iclient": {
                    "grant_type": "client_credentials",
                    "token_url": server.url,
                    "client_id": "c0",
                    "client_secret": {"env": "CLIENT_SECRET"},
                    "valid_domains": [server.authority],
                    "allow_insecure": True,
                },
            }
        },
    }


@pytest.mark.case("L-291", "R-375")
@pytest.mark.needs("strace")
@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_signal_at_the_start_ends_the_process_and_leaves_a_store_that_is_whole(tmp_path: Path, moment: str):
    async with AsyncExitStack() as after:
        server = AuthorizationServer(default=token(refresh_token="canary-refresh"))
        await after.enter_async_context(server)
        environment = {"CLIENT_SECRET": SECRET, "KEYS": KEY}
        written = _definitions(tmp_path, server)
        process = await Process.start(written, tmp_path, environment, within=_within(tmp_path, moment))
        after.push_async_callback(process.stop)

        assert await process.exit_status(SOON) == 0, process.output
        process.assert_clean()
        assert "SIGTERM" in (tmp_path / "traced").read_text()

        again = await Process.start(written, tmp_path, environment)
        after.push_async_callback(again.stop)
        await again.until_listening()
        await again.until_logged("renewal", outcome="ok")
        assert await again.stop() == 0
        again.assert_clean()
        assert [said for said in again.events if said["level"] == "error"] == []
        [_] = (tmp_path / "grants").glob("*.grant")
        assert list((tmp_path / "grants").glob("*.tmp")) == []
