"""The link to one Redis server: what is asked of it, whether it is there, what it publishes.

While the server is away a probe looks for it once a second; commands are refused at once after five failures in a row.
The log has a line for each change between there and away, and a counter for each failure.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import structlog

from proxy.tokens.store.breaker import Breaker
from proxy.tokens.store.redis_names import PROBE
from proxy.tokens.stored import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.tokens.store.redis_streams import Streams, Subscription

# What `errors` counts; `open` is for what was read and does not decrypt.
OPERATIONS: Final = ("load", "open", "save", "turn", "listen", "probe")
# A probe, and a subscription, may take longer than a command: they leave an open stream to the commands after them.
_PATIENCE: Final = 2.0
# Seconds of silence after which the stream of the messages is asked for a sign of life: one that is dead without a
# word would keep a token that another replica renewed from being heard of.
_SILENCE: Final = 10.0
# So many messages are heard in one go, and so long is the pause in seconds after them: what lies in the socket is read
# without waiting, and whoever floods the channel would hold up all requests.
_GO: Final = 50
_BREATH: Final = 0.01


class Link:
    """One process's link; `channel` is where messages come from, `probe` the key that a probe writes.

    `connected` is awaited whenever something may have happened unheard, `returned` whenever the server was away and can
    be written again; `heard` gets each message. `pause` is in seconds: see `Pauses.probe`.
    """

    def __init__(
        self,
        streams: Streams,
        channel: str,
        probe: str,
        *,
        heard: Callable[[bytes], None],
        connected: Callable[[], Awaitable[None]],
        returned: Callable[[], Awaitable[None]],
        pause: float,
    ) -> None:
        self.errors = dict.fromkeys(OPERATIONS, 0)
        self._streams = streams
        self._channel = channel
        self._probe_key = probe
        self._heard = heard
        self._connected = connected
        self._returned = returned
        self._pause = pause
        self._breaker = Breaker()
        self._away = asyncio.Event()  # a probe is wanted
        self._back = asyncio.Event()  # it was there once
        self._was_away = False
        self._listening = False
        self._unheard = 0  # attempts to listen that failed in a row, with the server there
        self._tasks: list[asyncio.Task[None]] = []
        self._log = structlog.get_logger()

    @property
    def available(self) -> bool:
        """Whether the server did what it was asked last."""
        return self._breaker.available is True

    @property
    def answered(self) -> bool:
        """Whether it ever was available."""
        return self._back.is_set()

    async def ask(self, operation: str, *command: str | bytes | int, write: bool) -> Any:  # noqa: ANN401 see Streams.ask
        """Return the server's reply. Raises `StoreUnavailable`.

        `write`: it needs a server that takes more; one that is full, or a replica, may do the rest.
        """
        try:
            reply = await self._streams.ask(*command, admit=self._admit)
        except _Refused:
            self.errors[operation] += 1
            raise StoreUnavailable("the server is away") from None
        except StoreUnavailable as error:
            self._failed(operation, error, write=write)
            raise
        self._worked(write=write)
        return reply

    def start(self) -> None:
        """Look for the server, and listen, until `close`."""
        self._away.set()
        self._tasks = [
            asyncio.create_task(self._watch(), name="probe of the store"),
            asyncio.create_task(self._listen(), name="messages of the store"),
        ]

    async def close(self) -> None:
        """End all that was started."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._streams.close()

    def _admit(self) -> None:
        if self._breaker.is_open:
            raise _Refused

    def _failed(self, operation: str, error: StoreUnavailable, *, write: bool) -> None:
        self.errors[operation] += 1
        if self._breaker.failed(write=write):
            self._log.warning("store", outcome="unavailable", operation=operation, reason=str(error))
        self._was_away = True
        self._away.set()

    def _worked(self, *, write: bool) -> None:
        if self._breaker.worked(write=write):
            self._back.set()
            self._log.info("store", outcome="available")

    async def _watch(self) -> None:
        while True:
            await self._away.wait()
            if await self._probe():
                self._away.clear()
                if self._was_away:
                    self._was_away = False
                    # Where nobody listens now, everything is heard once somebody does again.
                    await self._going_on(self._connected() if self._listening else self._returned())
            await asyncio.sleep(self._pause)

    async def _going_on(self, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception:  # noqa: BLE001 a mistake of ours must not end the link
            self._log.exception("store_link_failed")

    async def _probe(self) -> bool:
        """Tell whether the server can be written to."""
        try:
            await self._streams.ask("EVAL", PROBE, 1, self._probe_key, seconds=_PATIENCE)
        except StoreUnavailable as error:
            self._failed("probe", error, write=True)
            return False
        self._worked(write=True)
        return True

    async def _listen(self) -> None:
        """Hear what is published, over as many streams as it takes, one after the other."""
        time = asyncio.get_running_loop().time
        while True:
            began = time()
            await self._going_on(self._listen_once())
            # One that had lasted is made anew at once: a server in the place of this one may have lost something.
            await asyncio.sleep(max(self._pause - (time() - began), 0))

    async def _listen_once(self) -> None:
        subscription: Subscription | None = None
        try:
            subscription = await self._streams.subscription(self._channel, _PATIENCE)
            self._unheard, self._listening = 0, True
            await self._connected()
            heard = 0
            while True:
                data = await subscription.hear(_SILENCE)
                if data is None:
                    data = await subscription.ping(_PATIENCE)
                if data is not None:
                    self._heard(data)
                    heard += 1
                    if heard % _GO == 0:
                        await asyncio.sleep(_BREATH)
        except StoreUnavailable as error:
            self.errors["listen"] += 1
            # Is the server gone, or only this stream? The second time in a row the operator is told.
            if self.available and await self._probe():
                self._unheard += 1
                if self._unheard == 2:
                    self._log.warning("store", outcome="not_listening", reason=str(error))
        finally:
            self._listening = False
            if subscription is not None:
                await subscription.close()


class _Refused(Exception):
    """Nobody was asked."""
