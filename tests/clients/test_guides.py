"""Every command of docs/guides that needs no interception, as it stands there."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.definitions.load import load
from tests.clients.api import Api
from tests.clients.following import followed, marked
from tests.clients.guides import ELSEWHERE, GUIDES, Step, all_steps, definitions, readme
from tests.clients.stage import ClientStage
from tests.support.process import ROOT

pytestmark = pytest.mark.asyncio(loop_scope="module")

URLS = {
    "orders": "https://api.example.com",
    "acme": "https://api.acme.com",
    "shop-eu": "https://shop.example.com",
    "shop-us": "https://shop.example.com",
}


@pytest.mark.parametrize("step", marked([readme(), *all_steps(intercepted=False)]), ids=str)
async def test_a_command_of_a_guide_does_what_the_guide_says(step: Step, api: Api, stage: ClientStage, tmp_path: Path):
    before = api.answered

    said = await followed(step, stage, tmp_path)

    assert said.status == 0, said
    assert api.answered - before >= step.requests
    if step.page == "forward-proxy" and step.requests == 0:
        assert "You reached the proxy" in said.out


@pytest.mark.parametrize("text", [pytest.param(text, id=page) for page, text in definitions()])
async def test_a_definition_of_a_guide_can_be_loaded(text: str, tmp_path: Path):
    (tmp_path / "iclient-proxy.yaml").write_text(text)
    environ = dict.fromkeys(("CLIENT_SECRET", "EU_SECRET", "US_SECRET", "LISTENER_TOKEN"), "canary")
    # The authority of the page on interception is about to be made there.
    loaded = load([tmp_path / "iclient-proxy.yaml"], environ, with_authority=False)

    assert (loaded.definitions.listeners.forward is not None) is ("forward:" in text)


async def test_a_page_whose_runtime_is_not_here_says_so():
    silent = [
        page.stem
        for page in GUIDES.glob("*.md")
        if not all_of(page) and "was not run here" not in page.read_text(encoding="utf-8")
    ]

    assert set(silent) == set(ELSEWHERE)
    assert [place for place in ELSEWHERE.values() if not (ROOT / place).exists()] == []


def all_of(page: Path) -> bool:
    return any(step.page == page.stem for half in (False, True) for step in all_steps(intercepted=half))
