"""Processes that share the grants in one Redis server, played by one `GrantServer` each."""

import base64
import os
from contextlib import asynccontextmanager

from proxy.clock import SystemClock
from proxy.definitions.redis_url import parse
from proxy.definitions.settings import RedisStore
from proxy.secret import Secret
from proxy.tokens.store.redis import GrantServer
from proxy.tokens.store.redis_pauses import Pauses

# What is a second or three for replicas that are far away from each other; these share a loop.
QUICK = Pauses(probe=0.05, look=0.05, settling=0.5)
K1 = base64.b64encode(bytes([1]) * 32).decode()


@asynccontextmanager
async def servers(server):
    """Hand out a function that makes another process; all of them end with the block."""
    made = []

    def process(
        keys=K1, *, url=None, lease=5.0, context=None, entropy=os.urandom, clock=None, pauses=QUICK, **settings
    ):
        address = parse(Secret(url or server.url)).address
        grants = GrantServer(
            RedisStore(address=address, keys=Secret(keys), **settings),
            entropy,
            clock or SystemClock(),
            lease=lease,
            context=context,
            pauses=pauses,
        )
        made.append(grants)
        return grants

    try:
        yield process
    finally:
        for grants in made:
            await grants.close()
