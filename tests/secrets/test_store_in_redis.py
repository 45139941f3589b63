"""What Redis holds of a grant, as its operator or a neighbour can read it."""

import base64
import random

import pytest

from tests.lifecycle.test_restart import definitions
from tests.support.authorization_server import AuthorizationServer, token
from tests.support.canaries import Canary, Scanner, assert_free, canary
from tests.support.process import Process
from tests.support.redis_server import redis_server

ENTROPY = random.Random(316)
PLACES = (
    "client secret",
    "seed",
    "access token",
    "refresh token",
    "id token",
    "password",
    "second token",
    "second refresh",
)


@pytest.mark.case("S-316")
@pytest.mark.needs("redis-server")
async def test_what_redis_holds_is_ciphertext_and_never_the_same_twice(tmp_path):
    words = {place: canary(place, ENTROPY).text for place in PLACES}
    scanner = Scanner(Canary(place, text) for place, text in words.items())
    key = base64.b64encode(ENTROPY.randbytes(32)).decode()
    dumps = []
    async with AuthorizationServer() as server, redis_server(settings={"requirepass": words["password"]}) as redis:
        server.script(
            token(words["access token"], refresh_token=words["refresh token"], id_token=words["id token"]),
            token(words["second token"], refresh_token=words["second refresh"]),
        )
        url = redis.tcp_url.replace("://", f"://:{words['password']}@")
        environ = {"CLIENT_SECRET": words["client secret"], "SEED": words["seed"], "ICLIENT_PROXY_KEY": key, "URL": url}
        written = definitions(server, {"kind": "redis", "url": {"env": "URL"}})
        process = await Process.start(written, tmp_path, environ)
        try:
            for number in (1, 2):
                await process.until_logged("renewal", number, outcome="ok")
                _, names = await redis.commands(("AUTH", words["password"]), ("KEYS", "*"))
                replies = await redis.commands(("AUTH", words["password"]), *(("DUMP", name) for name in names))
                dumps.append(b"\n".join([*names, *(reply for reply in replies[1:] if reply)]))
                if number == 1:
                    assert (await process.admin_post("/api/connections/crm/renew")).status == 200
        finally:
            await process.stop()

    assert all(len(dump) > 200 for dump in dumps)
    assert dumps[0] != dumps[1]
    for dump in dumps:
        assert_free(scanner, "a dump of Redis", dump, canary("control", ENTROPY))
    assert_free(scanner, "the log", process.output.encode(), canary("control", ENTROPY))
