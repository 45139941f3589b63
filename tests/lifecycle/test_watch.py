"""Files that the definitions came from are watched: what changes in them is in force without a word to the proxy."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from copy import deepcopy
from shutil import rmtree
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.definitions.written import closed_folder
from tests.lifecycle.applications import Applications
from tests.support.deadline import eventually
from tests.support.scripts import OK_BODY
from tests.support.stage import SECRET, Case, Stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    Open = Callable[..., Awaitable["Scene"]]

NAMES = ("c0", "c1")
SWAPS = 8
BURST = 200
NEW_SECRET = "canary-secret-after-the-rotation"


class Volume:
    """A folder as Kubernetes mounts a ConfigMap: names that link through `..data` to the folder of one version."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._version = 0

    def hold(self, files: dict[str, str]) -> None:
        """Write a version beside, swap the link, and remove the version before, as the kubelet does."""
        before = self._version
        self._version += 1
        now = self._folder / f"..version_{self._version}"
        now.mkdir()
        for name, text in files.items():
            (now / name).touch(0o640)
            (now / name).write_text(text)
        (self._folder / "..data_tmp").symlink_to(now.name)
        (self._folder / "..data_tmp").rename(self._folder / "..data")
        for name in files:
            if not (self._folder / name).is_symlink():
                (self._folder / f".{name}").symlink_to(f"..data/{name}")
                (self._folder / f".{name}").rename(self._folder / name)
        if before:
            rmtree(self._folder / f"..version_{before}")


class Scene:
    """A running product with two connections, and the folder that its operator or its orchestrator changes."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self.stage = stage
        self.folder = folder
        self.definitions = stage.definitions()
        self.file = folder / "definitions.yaml"

    async def start(self) -> None:
        await self.stage.start(self.folder)
        self.c0, self.c1 = [await self.stage.case(name) for name in NAMES]

    @property
    def process(self) -> Any:
        return self.stage.process

    def version(self, value: str) -> str:
        """Return the definitions with a header of c1 that tells them apart."""
        definitions = deepcopy(self.definitions)
        definitions["connections"]["c1"]["headers"] = {"X-Version": value}
        return json.dumps(definitions)

    def replace(self, text: str, name: str = "definitions.yaml") -> None:
        """Write beside and rename, as editors and programs do."""
        beside = self.folder / f".{name}.new"
        beside.write_text(text)
        beside.chmod(0o600)
        beside.rename(self.folder / name)

    async def reloaded(self, times: int, outcome: str = "applied") -> dict[str, Any]:
        """Wait for that reload of all that were; it is the last so far."""
        line: dict[str, Any] = await self.process.until_logged("reload", times)
        assert line["outcome"] == outcome, line
        assert len(self.process.logged("reload")) == times
        return line

    async def close(self) -> None:
        for case in (self.c0, self.c1):
            await case.close()


@pytest_asyncio.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Open]:
    """Start the product on a folder with two connections; everything is closed after the test."""
    async with AsyncExitStack() as after:

        async def start(
            *,
            secret: str | None = None,
            folder: bool = False,
            inner: Path = tmp_path,
            within: tuple[str, ...] = (),
        ) -> Scene:
            stage = Stage({name: {} for name in NAMES}, {})
            if secret is not None:
                stage.client_secret = {"file": secret}
            stage.within, stage.whole_folder = within, folder
            opened = Scene(stage, inner)
            await opened.start()
            after.push_async_callback(stage.close)
            after.push_async_callback(opened.close)
            return opened

        yield start


def seen(case: Case) -> list[bytes]:
    return case.upstream.requests[-1].values(b"x-version")


@pytest.mark.parametrize("way", ["renamed", "in place", "deleted and made again"])
async def test_a_file_that_changes_is_in_force_and_what_did_not_change_keeps_its_token(scene: Open, way: str):
    on = await scene()
    clients = [await case.warm() for case in (on.c0, on.c1)]
    if way == "renamed":
        on.replace(on.version("2"))
    elif way == "in place":
        on.file.write_text(on.version("2"))
    else:
        on.file.unlink()
        on.file.write_text(on.version("2"))
    line = await on.reloaded(1)
    for case, client in zip((on.c0, on.c1), clients, strict=True):
        assert (await client.ask(case.request())).status == 200

    assert (line["kept"], line["changed"]) == (1, "c1")
    assert "definitions.yaml" in on.process.logged("files_changed")[0]["files"]
    assert seen(on.c1) == [b"2"]
    assert (on.c0.token_requests, len(on.c0.upstream.streams)) == (1, 1)


@pytest.mark.case("C-24")
async def test_a_folder_that_can_not_be_looked_into_changes_nothing_until_it_is_gone(tmp_path: Path, scene: Open):
    (tmp_path / "c").mkdir()
    on = await scene(folder=True, inner=tmp_path / "c")
    client = await on.c0.warm()
    with closed_folder(on.folder):
        line = await on.reloaded(1, "rejected")
        assert line["faults"].startswith(f"config_unreadable: {on.folder}/x")
        assert (await client.ask(on.c0.request())).status == 200
    await on.reloaded(2)
    assert (await client.ask(on.c0.request())).status == 200
    assert (on.c0.token_requests, len(on.c0.upstream.streams)) == (1, 1)


@pytest.mark.case("C-24", "C-25")
async def test_a_volume_of_kubernetes_that_is_swapped_again_and_again_under_load_loses_no_request(
    tmp_path: Path, scene: Open
):
    volume = Volume(tmp_path)
    on = await scene()
    volume.hold({"definitions.yaml": on.version("0"), "secret": SECRET})
    await on.reloaded(1)
    applications = Applications((on.c0, on.c1))
    for number in range(1, SWAPS + 1):
        volume.hold({"definitions.yaml": on.version(str(number)), "secret": SECRET})
        assert (await on.reloaded(number + 1))["changed"] == "c1"
        await eventually("these definitions", lambda number=number: seen(on.c1) == [str(number).encode()])
    for number in range(BURST):
        volume.hold({"definitions.yaml": on.version(f"burst {number}"), "secret": SECRET})
    await eventually("the last definitions", lambda: seen(on.c1) == [f"burst {BURST - 1}".encode()])
    await applications.end()

    assert set(applications.statuses) == {200}
    assert applications.bodies == {OK_BODY}
    assert len(on.process.logged("reload")) <= SWAPS + 1 + 3  # a burst of two hundred is a few reloads
    assert (on.c0.token_requests, len(on.c0.upstream.streams)) == (1, 1)
    assert on.c0.upstream_requests + on.c1.upstream_requests == len(applications.statuses)


@pytest.mark.case("C-25")
async def test_a_secret_that_is_rotated_in_its_file_costs_only_its_own_connection_a_token(tmp_path: Path, scene: Open):
    secret = tmp_path / "secret"
    secret.touch(0o600)
    secret.write_text(SECRET)
    on = await scene()
    on.definitions["connections"]["c1"]["iclient"]["client_secret"] = {"file": "secret"}
    on.replace(json.dumps(on.definitions))
    await on.reloaded(1)
    kept, client = await on.c0.warm(), await on.c1.warm()
    on.stage.tokens.secrets["c1"] = NEW_SECRET
    on.replace(NEW_SECRET, "secret")
    line = await on.reloaded(2)
    assert (await kept.ask(on.c0.request())).status == 200
    assert (await client.ask(on.c1.request())).status == 200

    assert line["changed"] == "c1"
    assert (on.c0.token_requests, on.c1.token_requests) == (1, 2)
    assert on.c1.upstream.requests[-1].token == on.c1.token(2)


@pytest.mark.case("C-24")
async def test_faulty_content_is_said_once_and_changes_nothing_until_it_is_mended(scene: Open):
    on = await scene()
    clients = [await case.warm() for case in (on.c0, on.c1)]
    on.replace("connections: [")
    await on.reloaded(1, "rejected")
    on.replace("connections: {")
    await on.reloaded(2, "rejected")  # other content; the first was not read twice meanwhile
    for case, client in zip((on.c0, on.c1), clients, strict=True):
        assert (await client.ask(case.request())).status == 200
    on.replace(on.version("2"))
    await on.reloaded(3)
    for case, client in zip((on.c0, on.c1), clients, strict=True):
        assert (await client.ask(case.request())).status == 200

    assert seen(on.c1) == [b"2"]
    assert (on.c0.token_requests, on.c1.token_requests) == (1, 2)


async def test_files_that_come_into_a_folder_and_go_bring_and_take_connections(tmp_path: Path, scene: Open):
    on = await scene(folder=True)
    client = await on.c0.warm()
    definitions = deepcopy(on.definitions)
    moved = definitions["connections"].pop("c1")
    on.replace(json.dumps(definitions))
    assert (await on.reloaded(1))["removed"] == "c1"
    on.replace(json.dumps({"connections": {"c1": moved}}), "c1.yaml")
    assert (await on.reloaded(2))["added"] == "c1"
    assert (await on.c1.ask(on.c1.request())).status == 200
    (tmp_path / "c1.yaml").unlink()
    assert (await on.reloaded(3))["removed"] == "c1"
    assert (await client.ask(on.c0.request())).status == 200

    assert on.c0.token_requests == 1


async def test_a_folder_that_vanishes_changes_nothing_and_is_watched_when_it_is_back(tmp_path: Path, scene: Open):
    inner = tmp_path / "inner"
    inner.mkdir()
    on = await scene(folder=True, inner=inner)
    client = await on.c0.warm()
    inner.rename(tmp_path / "gone")
    await on.reloaded(1, "rejected")
    assert (await client.ask(on.c0.request())).status == 200
    inner.mkdir()
    on.replace(on.version("2"))
    await on.reloaded(2)
    on.replace(on.version("3"))
    await on.reloaded(3)
    assert (await on.c1.ask(on.c1.request())).status == 200

    assert seen(on.c1) == [b"3"]
    assert on.c0.token_requests == 1


@pytest.mark.needs("unshare")
async def test_a_file_that_is_mounted_by_itself_is_named_once_at_the_start(tmp_path: Path, scene: Open):
    outside = tmp_path / "outside"
    outside.touch(0o600)
    outside.write_text(SECRET)
    mounted = tmp_path / "secret of its own"
    mounted.touch(0o600)
    mount = 'mount --bind "$0" "$1" && shift && exec "$@"'
    within = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, str(outside), str(mounted))
    on = await scene(secret=mounted.name, within=within)
    line = await on.process.until_logged("mounted_alone")
    on.replace(on.version("2"))
    await on.reloaded(1)

    assert line["file"].endswith(mounted.name)
    assert len(on.process.logged("mounted_alone")) == 1


async def test_a_proxy_that_drains_looks_no_more(scene: Open):
    on = await scene()
    on.replace(on.version("2"))
    on.process.signal()
    assert await on.process.exit_status() == 0

    assert on.process.logged("reload") == []
