"""A real keeper and a real issuer on a loop whose time tests move, before a token endpoint that answers when told."""

import asyncio
import json
import random
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from proxy.definitions.settings import Limits
from proxy.definitions.templates.urls import compile_url
from proxy.oauth.failure import EndpointFault, Outcome
from proxy.oauth.grant import Authorization
from proxy.oauth.response import EndpointAnswer
from proxy.runtime.keepers import policy_of
from proxy.secret import Secret
from proxy.tokens.correspondence import Sources
from proxy.tokens.discovery import Discovery
from proxy.tokens.issuer import BROUGHT, Issuer
from proxy.tokens.keeper import Keeper
from proxy.tokens.pace import RETRY_GAP
from proxy.tokens.retries import Retries
from proxy.tokens.store.memory import MemoryStore
from tests.oauth.answers import connection, iclient
from tests.support.fake_time import FakeTime

LIMITS = Limits()
BACK = "http://127.0.0.1:7489/oauth/callback/acme"


@dataclass(eq=False)
class Asked:
    """One token request, as the endpoint sees it; `answer` is what its sender waits for.

    `written` is how many refresh tokens had been written to the store by then.
    """

    at: float
    wall: float
    written: int
    form: dict[str, str]
    answer: asyncio.Future = field(repr=False)

    @property
    def grant(self):
        return self.form.get("grant_type", "")

    @property
    def is_renewal(self):
        return self.grant != "authorization_code"

    def say(self, status, content, **headers):
        fields = {"content-type": "application/json"} | {key.replace("_", "-"): text for key, text in headers.items()}
        self.answer.set_result(EndpointAnswer(status, tuple(fields.items()), json.dumps(content).encode()))

    def token(self, value, lifetime=3600, **fields):
        content = {"access_token": value, "token_type": "Bearer", "expires_in": lifetime, **fields}
        self.say(200, {key: what for key, what in content.items() if what is not None})

    def break_off(self, *, sent=False):
        """Let the connection break; `sent`: once the request had left, so that nobody knows what became of it."""
        fault = EndpointFault(Outcome.TRANSPORT, "token_endpoint_reset")
        fault.sent = sent
        self.answer.set_exception(fault)


class PlayedEndpoint:
    """Keeps each request until it is answered, or until its sender's patience ends. `always` answers at once."""

    def __init__(self, time, store):
        self._time = time
        self._store = store
        self.asked = []
        self.open = []
        self.always = None

    async def send(self, request):
        form = dict(parse_qsl(request.body.decode(), keep_blank_values=True))
        asked = Asked(
            self._time.now, self._time.wall(), len(self._store.written), form, self._time.loop.create_future()
        )
        self.asked.append(asked)
        self.open.append(asked)
        if self.always is not None:
            self.always(asked)
        try:
            async with asyncio.timeout(LIMITS.token_total):
                return await asked.answer
        except TimeoutError as error:
            raise EndpointFault(Outcome.TIMEOUT, "token_endpoint_timeout") from error
        finally:
            self.open.remove(asked)


class WrittenStore(MemoryStore):
    """Remembers the refresh tokens that were written, in order; while it is `slow`, a write waits for the event.

    `fault` is raised by whatever is done with it.
    """

    def __init__(self):
        super().__init__()
        self.fault = None
        self.written = []
        self._durable = None

    @contextmanager
    def slow(self):
        self._durable = asyncio.Event()
        yield self._durable
        self._durable = None

    async def load(self):
        if self.fault is not None:
            raise self.fault
        return await super().load()

    async def save(self, stored):
        if self.fault is not None:
            raise self.fault
        if self._durable is not None:
            await self._durable.wait()
        kept = await super().save(stored)
        token = None if stored.grant is None else stored.grant.refresh_token
        if kept and token is not None and token.reveal() not in self.written[-1:]:
            self.written.append(token.reveal())
        return kept


class Play:
    """One keeper and what is around it. `time` is shared where a reload replaces one by another.

    `replica`: what this process sees of a store that others write, too. `gap` is between retries, in seconds. `before`
    is the play that this one replaces.
    """

    kind = Keeper

    def __init__(
        self,
        time=None,
        *,
        seed=1,
        refresh_token=None,
        replica=None,
        prefetch=None,
        chance=None,
        gap=RETRY_GAP,
        before=None,
        **settings,
    ):
        self.time = time or FakeTime()
        urls = {
            "authorization_url": compile_url("https://auth.example.com/authorize"),
            "device_authorization_url": compile_url("https://auth.example.com/device"),
        }
        client = iclient(**urls, **settings)
        chance = chance or random.Random(seed).random
        of = connection(
            client,
            username="ann",
            password=Secret("canary-password"),
            refresh_token=None if refresh_token is None else Secret(refresh_token),
        )
        self.store = WrittenStore() if replica is None else replica.store(of, client)
        self.endpoint = PlayedEndpoint(self.time, self.store)
        self.policy = policy_of(client, LIMITS)
        issuer = Issuer(
            of,
            client,
            endpoint=self.endpoint,
            discovery=Discovery(client, self.endpoint, self.time, limit=LIMITS.token_answer),
            store=self.store,
            clock=self.time,
            sources=Sources(chance, random.Random(seed).randbytes, lambda: BACK),
            limit=LIMITS.token_answer,
            pause=LIMITS.backoff.min,
            outlived=replica is not None,
        )
        self.keeper = self.kind(
            of.name,
            issuer,
            self.policy,
            clock=self.time,
            chance=chance,
            retries=Retries(self.time.monotonic, gap),
            prefetch=prefetch,
            authorized=client.grant_type not in BROUGHT or refresh_token is not None,
            before=None if before is None else before.keeper,
        )
        if replica is not None:
            replica.heard = lambda _: self.keeper.heard()

    def take(self):
        """Return the token that a request gets at once, if it gets one."""
        return self.time.call(self.keeper.take)

    def wait(self):
        """Return a request that waits for a token."""
        return self._begun(self.keeper.wait(), "waiter")

    def renew(self):
        """Return the task of an operator who asks for a renewal."""
        return self._begun(self.keeper.renew(), "operator")

    def _begun(self, work, name):
        """Return a task; whoever does not care how it ends may forget it."""
        task = self.time.loop.create_task(work, name=name)
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        self.time.settle()
        return task

    def authorize(self, code="canary-code", callback=None):
        """Return the task of somebody who comes back with a code."""
        authorization = Authorization(Secret(code), Secret("v" * 43), BACK, "a-state")
        return self.time.start(self.keeper.consent.redeem(authorization, callback or {}), "authorizing")

    def first_token(self, value="token-1", **fields):
        """Have the first token come; return it as a request gets it."""
        waiting = self.wait()
        self.answer(value, **fields)
        return waiting.result()

    def answer(self, value, **fields):
        """Answer the request that is under way."""
        [asked] = self.endpoint.open
        asked.token(value, **fields)
        self.time.settle()

    def refuse(self, code, status=400):
        """Answer the request that is under way with an error."""
        [asked] = self.endpoint.open
        asked.say(status, {"error": code})
        self.time.settle()

    def lose(self):
        """Lose the answer to the request that is under way."""
        [asked] = self.endpoint.open
        asked.break_off(sent=True)
        self.time.settle()

    @property
    def sent(self):
        """The refresh tokens that were sent, in order; None where a request had none."""
        return [asked.form.get("refresh_token") for asked in self.endpoint.asked]

    def close(self):
        self.time.run(self.keeper.close())


@contextmanager
def played(**settings):
    """A play of its own; nothing may be left of it."""
    play = Play(**settings)
    ended = False
    try:
        yield play
        play.close()
        ended = True
    finally:
        left = play.time.end()
        assert not (ended and left), left
