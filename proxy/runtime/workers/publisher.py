"""What the main process publishes of tokens: workers hear of each change of a life, and say what they saw."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from proxy.access_token import AccessToken
from proxy.errors import TokenUnavailable
from proxy.runtime.workers.codec import packed_life
from proxy.secret import Secret
from proxy.tokens.states import holds
from proxy.tokens.unavailable import closing

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.runtime.workers.frames import Message
    from proxy.tokens.states import Life
    from proxy.tokens.watched import WatchedKeeper


class Publisher:
    """Knows every keeper by a number, and who is told of its life; belongs to the loop of the keepers."""

    def __init__(self) -> None:
        self._numbers: dict[WatchedKeeper, int] = {}
        self._keepers: dict[int, WatchedKeeper] = {}
        self._told: dict[int, tuple[Life, bool]] = {}
        self._last = 0
        self.subscribers: set[Subscriber] = set()

    def number(self, keeper: WatchedKeeper) -> int:
        """Return the number of a keeper, which is watched from now on."""
        number = self._numbers.get(keeper)
        if number is None:
            self._last = number = self._last + 1
            self._numbers[keeper] = number
            self._keepers[number] = keeper
            self._told[number] = (keeper.life, keeper.used)
            keeper.changed = self.changed
            keeper.left = self._left
        return number

    def keeper(self, number: int) -> WatchedKeeper | None:
        """Return the keeper of that number; None: it is closed."""
        return self._keepers.get(number)

    def changed(self, keeper: WatchedKeeper) -> None:
        """Tell all workers of a life that is another one now."""
        number = self._numbers.get(keeper)
        if number is None:
            return
        now = (keeper.life, keeper.used)
        if self._told[number] == now:
            return
        self._told[number] = now
        packed = packed_life(keeper.life)
        for subscriber in self.subscribers:
            subscriber.tell(number, packed, used=keeper.used)

    def tell_all(self, subscriber: Subscriber) -> None:
        """Tell one worker of all lives."""
        for number, keeper in self._keepers.items():
            subscriber.tell(number, packed_life(keeper.life), used=keeper.used)

    def _left(self, keeper: WatchedKeeper) -> None:
        number = self._numbers.pop(keeper, None)
        if number is not None:
            del self._keepers[number], self._told[number]


class Subscriber:
    """One worker, who hears of all lives; `send` takes what it is told."""

    def __init__(self, publisher: Publisher, send: Callable[[Message], None]) -> None:
        self._publisher = publisher
        self._send = send
        self._heard = 0
        self._waiting: dict[int, asyncio.Task[None]] = {}
        publisher.subscribers.add(self)

    def tell(self, number: int, packed: object, *, used: bool) -> None:
        """Hand over a life; the worker knows which of its verdicts are in it already."""
        self._send({"kind": "life", "keeper": number, "life": packed, "used": used, "heard": self._heard})

    def hear(self, message: Message) -> None:
        """Take what the worker says; raises `KeyError`, `TypeError` or `ValueError` for what no worker of ours says."""
        kind, number = message["kind"], int(message.get("keeper", 0))
        if kind == "wait":
            self._wait(int(message["n"]), number)
        elif kind == "left":
            task = self._waiting.pop(int(message["n"]), None)
            if task is not None:
                task.cancel()
        elif kind == "used":
            keeper = self._publisher.keeper(number)
            if keeper is not None:
                keeper.take()
                self._publisher.changed(keeper)
        elif kind in {"refused", "accepted"}:
            self._verdict(message, number, replayed=bool(message.get("replayed")))
        else:
            raise ValueError(kind)

    def close(self) -> None:
        """The worker is gone: nobody of it waits."""
        self._publisher.subscribers.discard(self)
        for task in self._waiting.values():
            task.cancel()
        self._waiting.clear()

    def _verdict(self, message: Message, number: int, *, replayed: bool) -> None:
        self._heard = int(message["said"])
        generation = int(message["generation"])
        keeper = self._publisher.keeper(number)
        if keeper is None:
            return
        held = holds(keeper.life)
        if held is not None and held.token.generation == generation:
            token = held.token
        else:  # one that is not sent any more
            token = AccessToken(Secret(""), generation)
        if message["kind"] == "refused":
            keeper.refused(token, replayed=replayed)
        else:
            keeper.accepted(token)
        # Also where nothing has changed: the worker learns that it was heard.
        self.tell(number, packed_life(keeper.life), used=keeper.used)

    def _wait(self, which: int, number: int) -> None:
        keeper = self._publisher.keeper(number)
        if keeper is None:
            self._none(which, closing().refusal())
            return
        work = self._answer(which, keeper)
        self._waiting[which] = asyncio.get_running_loop().create_task(work, name=f"a worker waits for {number}")

    async def _answer(self, which: int, keeper: WatchedKeeper) -> None:
        try:
            token = await keeper.wait()
        except TokenUnavailable as error:
            self._none(which, error)
        else:
            self._publisher.changed(keeper)
            self._send({"kind": "token", "n": which, "generation": token.generation})
        self._waiting.pop(which, None)

    def _none(self, which: int, error: TokenUnavailable) -> None:
        self._send(
            {
                "kind": "none",
                "n": which,
                "code": error.problem.code,
                "detail": error.detail,
                "retry_after": error.retry_after,
            }
        )
