"""Each module of this folder has one process; each of its tests has one connection, with the settings that it marks.

`@pytest.mark.connection(**settings)` adds to the definition of the test's own connection; a module-level `SETTINGS`
(or a function of the folder that makes it) adds to the top level of the definitions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.support import seen
from tests.support.stage import Case, Stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "connection(**settings): what the definition of the test's connection adds")


def _settings_of(item: pytest.Item) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for marker in item.iter_markers("connection"):
        settings = {**marker.kwargs, **settings}
    return settings


def _name_of(items: list[pytest.Item], item: pytest.Item) -> str:
    return f"c{[other.nodeid for other in items].index(item.nodeid)}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """The process of the module, with a connection for each of its tests and one that any of them may use beside it."""
    items = [item for item in request.session.items if item.path == request.path]
    connections: dict[str, dict[str, Any]] = {_name_of(items, item): _settings_of(item) for item in items}
    folder = tmp_path_factory.mktemp("stage")
    settings = getattr(request.module, "SETTINGS", {})
    made = Stage({**connections, "neighbour": {}}, settings(folder) if callable(settings) else settings)
    await made.start(folder)
    try:
        yield made
    finally:
        await made.close()


@pytest_asyncio.fixture(loop_scope="module")
async def case(request: pytest.FixtureRequest, stage: Stage) -> AsyncIterator[Case]:
    """The connection of this test; afterwards a good request has to succeed (I3)."""
    items = [item for item in request.session.items if item.path == request.path]
    tls = getattr(request, "param", None)
    made = await stage.case(_name_of(items, request.node), tls)
    try:
        yield made
        await made.assert_serves()
        assert made.upstream.malformed == []
    finally:
        await made.close()


@pytest_asyncio.fixture(loop_scope="module")
async def failing_case(request: pytest.FixtureRequest, stage: Stage) -> AsyncIterator[Case]:
    """The connection of a test whose upstream can't be reached: no good request can follow."""
    assert "I3" in seen.now().without, "say why in tests/catalogue/cases.toml"
    items = [item for item in request.session.items if item.path == request.path]
    made = await stage.case(_name_of(items, request.node), request.param)
    try:
        yield made
    finally:
        await made.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def neighbour(stage: Stage) -> AsyncIterator[Case]:
    """A second connection, shared by the tests of the module."""
    made = await stage.case("neighbour", counted=False)
    try:
        yield made
    finally:
        await made.close()
