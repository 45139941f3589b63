"""The walk through keepers, seen from a worker: all promises of a keeper hold for the copy that a worker has.

Requests ask the copy, what upstreams say goes to the copy, and between it and the keeper lie messages that are on their
way for a moment. Everything else is the walk of tests/tokens.
"""

import json
from collections import deque

import pytest
from hypothesis import settings

from proxy.runtime.workers.copies import Copies
from proxy.runtime.workers.publisher import Publisher, Subscriber
from proxy.tokens.watched import WatchedKeeper
from tests.tokens.played import Play
from tests.tokens.test_keeper_walk import WALKS, Walk


class Way:
    """One direction of the socket pair: what is sent arrives a little later, in order."""

    def __init__(self, loop):
        self._loop = loop
        self._sent = deque()
        self.arrive = None

    def send(self, message):
        self._sent.append(json.dumps(message))
        self._loop.call_soon(self._next)

    def _next(self):
        self.arrive(json.loads(self._sent.popleft()))


class FromAWorker:
    """A keeper as the data path of a worker sees it; operators and timers see the keeper itself."""

    def __init__(self, keeper, policy, time):
        self.original = keeper
        down, up = Way(time.loop), Way(time.loop)
        self._publisher = Publisher()
        self._subscriber = Subscriber(self._publisher, down.send)
        copies = Copies(up.send, time)
        down.arrive, up.arrive = copies.hear, self._subscriber.hear
        self.copy = copies.of(self._publisher.number(keeper), policy)
        self._publisher.tell_all(self._subscriber)

    def __getattr__(self, name):
        return getattr(self.original, name)

    def take(self):
        return self.copy.take()

    async def wait(self):
        return await self.copy.wait()

    def refused(self, token, *, replayed=False):
        return self.copy.refused(token, replayed=replayed)

    def accepted(self, token):
        self.copy.accepted(token)


class CopiedPlay(Play):
    kind = WatchedKeeper

    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        self.keeper = FromAWorker(self.keeper, self.policy, self.time)


class WalkFromAWorker(Walk):
    stage = CopiedPlay


WalkFromAWorker.TestCase.settings = settings(max_examples=max(50, WALKS // 5), stateful_step_count=50, deadline=None)
TestWalkFromAWorker = pytest.mark.timeout(max(180, WALKS))(WalkFromAWorker.TestCase)
