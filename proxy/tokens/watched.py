"""A keeper that says when its life has changed: other processes hand out its token, too, from a copy of that life."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.tokens.keeper import Keeper

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.tokens.states import Action, Life
    from proxy.tokens.states import Event as LifeEvent


def _nobody(_: WatchedKeeper) -> None:
    """Nobody watches."""


class WatchedKeeper(Keeper):
    """A keeper as any other; `changed` is called with it after each step, `left` when it is closed."""

    changed: Callable[[WatchedKeeper], None] = staticmethod(_nobody)
    left: Callable[[WatchedKeeper], None] = staticmethod(_nobody)

    @property
    def life(self) -> Life:
        """What is known about the token."""
        return self._life

    @property
    def used(self) -> bool:
        """Whether a request has taken the token since the last renewal."""
        return self._used

    async def close(self) -> None:
        """Stop, as any keeper, and be watched no more."""
        await super().close()
        self.left(self)

    def _advance(self, event: LifeEvent) -> tuple[Action, ...]:
        actions = super()._advance(event)
        self.changed(self)
        return actions

    def _land(self, event: LifeEvent) -> None:
        super()._land(event)
        self.changed(self)  # nobody has used this one
