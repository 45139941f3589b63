"""Every command of docs/guides that is about interception, as it stands there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.api import Api
from tests.clients.following import followed, marked
from tests.clients.guides import GUIDES, Step, all_steps, steps
from tests.clients.stage import ClientStage, shell
from tests.support.stage import SECRET

pytestmark = pytest.mark.asyncio(loop_scope="module")

URLS = {"orders": "https://api.example.com"}
FORWARD = {"intercept": {"enabled": True}}
MAKING, *_ = steps(GUIDES / "interception.md", intercepted=True)


async def prepare(stage: ClientStage) -> None:
    """Make the authority as the page on interception says."""
    said = await shell(
        MAKING.script, stage.folder, CLIENT_SECRET=SECRET, ICLIENT_PROXY_CONFIG=str(stage.folder / "definitions.yaml")
    )
    assert said.status == 0, said
    for runtime in ("curl", "java"):
        await stage.env(runtime)  # and export, once, what the others find there, too


@pytest.mark.parametrize("step", marked(each for each in all_steps(intercepted=True) if each != MAKING))
async def test_a_command_of_a_guide_does_what_the_guide_says(step: Step, api: Api, stage: ClientStage, tmp_path: Path):
    before = api.answered

    said = await followed(step, stage, tmp_path)

    assert said.status == 0, said
    assert api.answered - before >= step.requests


async def test_what_the_page_on_interception_makes_is_there(stage: ClientStage):
    assert (stage.folder / "bundle.pem").read_text().count("BEGIN CERTIFICATE") > 1
    assert (stage.folder / "truststore.p12").stat().st_size > 0
    assert (stage.folder / "ca" / "key.pem").stat().st_mode & 0o077 == 0
