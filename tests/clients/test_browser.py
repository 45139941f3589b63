"""A real browser that is told one thing: where `/proxy.pac` is."""

from __future__ import annotations

import pytest
import pytest_asyncio

from tests.browser.conftest import FLAGS
from tests.clients.api import ORDERS, Api
from tests.clients.stage import ClientStage
from tests.conftest import program

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.needs("chromium")]

URLS = {"orders": "https://api.example.com"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(stage: ClientStage):
    from playwright.async_api import async_playwright

    script = "http://{}:{}/proxy.pac".format(*stage.process.admin)
    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(
            executable_path=program("chromium"), args=[*FLAGS, f"--proxy-pac-url={script}"]
        )
        yield opened
        await opened.close()


async def test_the_magic_host_is_reached_by_the_script(browser, stage: ClientStage):
    page = await browser.new_page()
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    answer = await page.goto("http://iclient-proxy.internal/")

    assert answer.status == 200
    assert await page.inner_text("h1") == "You reached the proxy."
    assert [text for text in complaints if "favicon" not in text and "404" not in text] == []


async def test_a_claimed_host_gets_its_token_and_another_goes_past_the_proxy(browser, api: Api, stage: ClientStage):
    page = await browser.new_page()
    claimed = await page.goto("http://api.example.com/v1/orders")
    body = await claimed.body()
    past = await page.goto("http://{}:{}/livez".format(*stage.process.admin))

    assert (claimed.status, body) == (200, ORDERS)
    assert set(api.tokens) == {"canary-token-orders-1"}
    assert await past.text() == "ok\n"
