"""A store that replicas share, played: what a server does for them, with its faults on demand.

It passes the contract suite of `test_stores.py`, as the real ones do.
"""

import asyncio
from contextlib import asynccontextmanager

from proxy.tokens.stored import Stored, StoreUnavailable


class SharedGrants:
    """What all replicas see; one `Replica` for each process. `on_failure` is what the operator wrote.

    `away`: nothing is answered but that it can't be reached. `hanging`: nothing is answered at all. `deaf`: nobody is
    told of what others save. `leaves`: it goes away once it has told somebody that he is late. `faster`: what another
    one saves just before somebody does, the next first.
    """

    def __init__(self, on_failure="hold"):
        self.on_failure = on_failure
        self.away = self.hanging = self.deaf = self.leaves = False
        self.faster = []
        self.records = {}
        self.history = []
        self.turns = {}
        self.replicas = []

    def replica(self):
        replica = Replica(self)
        self.replicas.append(replica)
        return replica

    def kept(self, name="crm"):
        return self.records.get(name, Stored())

    def refresh_token(self, name="crm"):
        grant = self.kept(name).grant
        return grant.refresh_token.reveal() if grant is not None and grant.refresh_token is not None else None

    def put(self, stored, name="crm"):
        self.records[name] = stored

    def turn_of(self, name="crm"):
        """Return the lock that whoever renews holds."""
        return self.turns.setdefault(name, asyncio.Lock())

    def take_the_turn_away(self, name="crm"):
        """The lease of whoever holds the turn has ended: he does not know."""
        self.turns.pop(name, None)

    async def answer(self):
        if self.hanging:
            await asyncio.Event().wait()
        if self.away:
            raise StoreUnavailable("it is away")
        await asyncio.sleep(0)

    def tell(self, name, sender):
        for replica in self.replicas:
            if replica is not sender and replica.heard is not None and not self.deaf:
                replica.heard(name)


class Replica:
    """What one process sees: `store` as the runtime uses it, `heard` is told what others have saved."""

    def __init__(self, grants):
        self.grants = grants
        self.heard = None

    def store(self, of, client):
        return SharedStore(self, of.name)


class SharedStore:
    def __init__(self, replica, name):
        self.shared = True
        self.on_failure = replica.grants.on_failure
        self.held = None
        self._replica = replica
        self._grants = replica.grants
        self._name = name

    async def load(self):
        await self._grants.answer()
        return self._grants.kept(self._name)

    async def save(self, stored):
        await self._grants.answer()
        if self._grants.faster:
            self._grants.put(self._grants.faster.pop(0), self._name)
        if stored.version <= self._grants.kept(self._name).version:
            self._grants.away |= self._grants.leaves
            return False
        self._grants.records[self._name] = stored
        self._grants.history.append((self._name, stored))
        if not stored.intent:
            self._grants.tell(self._name, self._replica)
        return True

    @property
    def written(self):
        """The refresh tokens that were stored, in order."""
        grants = [stored.grant for name, stored in self._grants.history if name == self._name]
        return [grant.refresh_token.reveal() for grant in grants if grant is not None and grant.refresh_token]

    @asynccontextmanager
    async def turn(self):
        await self._grants.answer()
        async with self._grants.turn_of(self._name):
            yield
