"""git through the proxy, against git's own server: a push is a POST with a body of megabytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.forge import Forge
from tests.clients.stage import ClientStage, shell
from tests.support.stage import Case

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.needs("git")]

FORWARD = {"intercept": {"enabled": True}}
PUSH = """
export GIT_CONFIG_NOSYSTEM=1 GIT_TERMINAL_PROMPT=0
git config --global user.name nobody && git config --global user.email nobody@example.com
git clone --quiet $URL/project.git 2>&1
cd project
git checkout --quiet -b main
head -c 1500000 /dev/urandom > noise
git add noise && git commit --quiet --message=noise && git push --quiet origin main
git clone --quiet $URL/project.git again && git -C again rev-parse HEAD && git rev-parse HEAD
"""


async def prepare(stage: ClientStage) -> None:
    """Make the authority."""
    await stage.product("ca init")


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_clone_and_a_push_arrive_whole_though_the_token_is_refused_on_the_way(
    scheme: str, case: Case, stage: ClientStage, tmp_path: Path
):
    (tmp_path / "forge").mkdir()
    forge = Forge(tmp_path / "forge", 1 << 20)
    case.upstream.always(forge)

    said = await stage.run(PUSH, "git", folder=tmp_path, URL=f"{scheme}://{case.name}.example.com")

    assert said.status == 0, said
    cloned, pushed = said.lines[-2:]
    arrived = await shell(f"git -C {forge.bare} rev-parse main && git -C {forge.bare} fsck --strict", tmp_path)
    assert (cloned, pushed) == (arrived.lines[0], arrived.lines[0])
    refused, replayed = [each for each in case.upstream.requests if len(each.body) > 1 << 20]
    assert (refused.token, replayed.token) == (case.token(1), case.token(2))
    assert refused.body == replayed.body
    assert (refused.chunked, replayed.chunked) == (True, True)
    assert case.token_requests == 2
