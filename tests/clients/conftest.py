"""Each module has one process with a forward listener; each test has a connection and an upstream of its own.

A test's parameter `door` says how its upstream is reached. A module's `URLS` are those of connections beside, `FORWARD`
adds to the listener's definition, and `prepare(stage)` is awaited before the process starts.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.clients.api import Api
from tests.clients.stage import SIZE, ClientStage, Upload, java, sha256, shell
from tests.conftest import program

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.stage import Case


def _name(request: pytest.FixtureRequest, item: pytest.Item) -> str:
    items = [other.nodeid for other in request.session.items if other.path == request.path]
    return f"c{items.index(item.nodeid)}"


def _door(item: pytest.Item) -> str:
    called = getattr(item, "callspec", None)
    return "http" if called is not None and called.params.get("door") == "absolute" else "https"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ClientStage]:
    """The process of the module."""
    items = [item for item in request.session.items if item.path == request.path]
    names = {_name(request, item): _door(item) for item in items if "case" in getattr(item, "fixturenames", ())}
    urls = {name: f"{door}://{name}.example.com" for name, door in names.items()}
    folder = tmp_path_factory.mktemp("stage")
    made = ClientStage(
        {**urls, **getattr(request.module, "URLS", {})}, folder, getattr(request.module, "FORWARD", None)
    )
    prepare = getattr(request.module, "prepare", None)
    made.write()
    if prepare is not None:
        await prepare(made)
    await made.start(folder)
    try:
        yield made
    finally:
        await made.close()


@pytest_asyncio.fixture(loop_scope="module")
async def case(request: pytest.FixtureRequest, stage: ClientStage) -> AsyncIterator[Case]:
    """The connection of this test and its upstream."""
    made = await stage.opened(_name(request, request.node))
    try:
        yield made
        assert made.upstream.malformed == []
    finally:
        await made.close()


@pytest.fixture(scope="session")
def upload(tmp_path_factory: pytest.TempPathFactory) -> Upload:
    """A file of 1 MiB that holds every byte."""
    file = tmp_path_factory.mktemp("upload") / "file"
    content = random.Random(1).randbytes(SIZE)
    file.write_bytes(content)
    return Upload(str(file), sha256(content))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the compiled Java application; empty where there is no compiler."""
    folder = tmp_path_factory.mktemp("classes")
    if program("javac"):
        compiled = await shell(java(folder), folder)
        assert compiled.status == 0, compiled
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(
    request: pytest.FixtureRequest, stage: ClientStage, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Api]:
    """The API of the guides, behind each connection that the module names."""
    made = Api(tmp_path_factory.mktemp("repository"))
    cases = [await stage.opened(name) for name in request.module.URLS]
    for case in cases:
        case.upstream.always(made)
    try:
        yield made
        assert [case.upstream.malformed for case in cases] == [[]] * len(cases)
    finally:
        for case in cases:
            await case.close()
