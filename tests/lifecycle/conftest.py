"""Each test of this folder starts processes of its own, since it ends them."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest_asyncio

from tests.support.stage import Case, Stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    Play = Callable[..., Awaitable[Case]]


@pytest_asyncio.fixture
async def play(tmp_path: Path) -> AsyncIterator[Play]:
    """Start the product with these settings and one connection; everything is closed after the test."""
    async with AsyncExitStack() as after:

        async def start(connection: dict[str, Any] | None = None, *, serving: bool = True, **settings: Any) -> Case:
            stage = Stage({"c0": connection or {}}, settings)
            await stage.start(tmp_path, serving=serving)
            after.push_async_callback(stage.close)
            case = await stage.case("c0")
            after.push_async_callback(case.close)
            return case

        yield start
