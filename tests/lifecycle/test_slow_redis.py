"""A process whose grants are in a Redis server that is slow, but there: how it begins, and how it ends."""

import asyncio
import signal

import pytest

from tests.chaos.kills import KEY
from tests.chaos.relay import Relay
from tests.support.authorization_server import AuthorizationServer, token, when
from tests.support.deadline import awaiting, eventually
from tests.support.process import Process
from tests.support.redis_server import redis_server

NUMBER = 40


def definitions(server, relay):
    return {
        "listeners": {"reverse": {"bind": "127.0.0.1:0"}, "admin": {"bind": "127.0.0.1:0"}},
        "shutdown": {"drain_delay": "10ms", "grace": "1s"},
        "store": {"kind": "redis", "url": relay.url},
        "iclients": {
            "app": {
                "grant_type": "client_credentials",
                "client_id": "app",
                "client_secret": {"env": "CLIENT_SECRET"},
                "token_url": server.url,
                "valid_domains": [server.authority],
                "allow_insecure": True,
            }
        },
        "connections": {f"c{each}": {"base_url": "http://127.0.0.1:9", "iclient": "app"} for each in range(NUMBER)},
    }


@pytest.mark.case("L-291")
@pytest.mark.needs("redis-server")
async def test_many_turns_are_given_back_at_once_however_slow_the_store_is(tmp_path):
    async with redis_server() as redis, Relay(redis.path) as relay, AuthorizationServer() as server:
        server.script(*[when(asyncio.Event(), token())] * NUMBER)
        process = await Process.start(
            definitions(server, relay), tmp_path, {"CLIENT_SECRET": "canary-secret", "ICLIENT_PROXY_KEY": KEY}
        )
        try:
            await process.until_listening()
            await server.was_asked(NUMBER)
            relay.latency = 0.2
            process.signal(signal.SIGTERM)
            async with awaiting("the end of the process", 5):
                assert await process.exit_status() == 0
            await eventually("no turn left", lambda: _turns(redis))
        finally:
            await process.stop()
        process.assert_clean()


async def _turns(redis):
    return not [name for name in await redis.keys() if name.endswith("4:turn,")]
