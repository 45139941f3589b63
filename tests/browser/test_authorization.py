"""An authorization in a real browser and across two sites: its rules on cookies and origins are the real ones."""

from dataclasses import replace

import pytest
import pytest_asyncio

from proxy.admin.status import ConnectionStatus
from tests.browser.authorization_server import LoginServer

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]


@pytest_asyncio.fixture(loop_scope="module")
async def login(listener):
    server = LoginServer()
    await server.start()
    listener.running.server = server.url
    for name in ("chat", "mail"):
        listener.running.statuses[name] = ConnectionStatus(
            name, iclient="chat", grant_type="authorization_code", state="authorization_required", can_authorize=True,
            redirect_url=f"{listener.address}/oauth/callback/chat",
        )  # fmt: skip
    yield server
    await server.close()


async def allow(page):
    await page.get_by_role("button", name="Allow").click()


@pytest.mark.case("A-332", "A-342")
async def test_an_authorization_comes_back_from_another_site_without_a_script(listener, login, browse):
    async with browse(scripts=False) as page:
        await page.goto(listener.address)
        await page.get_by_role("link", name="Authorize chat").click()
        assert page.url.startswith(login.url)
        await allow(page)

        assert page.url == f"{listener.address}/oauth/done/chat"
        assert await page.get_by_role("heading", level=1).inner_text() == "chat is authorized"
        await page.get_by_role("link", name="Look at chat").click()
        assert "valid" in await page.inner_text("main")
    [(name, _, sessions)] = listener.running.finished
    assert (name, len(sessions)) == ("chat", 1)


async def test_begun_on_localhost_it_still_comes_back_to_the_cookie(listener, login, browse):
    async with browse(scripts=False) as page:
        await page.goto(listener.address.replace("127.0.0.1", "localhost"))
        await page.get_by_role("link", name="Authorize chat").click()
        assert page.url.startswith(login.url)
        await allow(page)

        assert page.url == f"{listener.address}/oauth/done/chat"


@pytest.mark.case("A-344")
async def test_two_tabs_do_not_take_each_others_flow(listener, login, browse):
    async with browse() as page:
        other = await page.context.new_page()
        for tab, name in ((page, "chat"), (other, "mail")):
            await tab.goto(listener.address)
            await tab.get_by_role("link", name=f"Authorize {name}").click()
        for tab, name in ((page, "chat"), (other, "mail")):
            await allow(tab)
            assert tab.url == f"{listener.address}/oauth/done/{name}"


@pytest.mark.case("A-332")
async def test_a_link_that_was_begun_in_another_browser_is_refused(listener, login, browse):
    async with browse() as attacker:
        await attacker.goto(f"{listener.address}/oauth/start/chat")
        link = attacker.url
    async with browse() as victim:
        await victim.goto(link)
        await allow(victim)

        assert "another browser" in await victim.inner_text("h1")
    assert listener.running.statuses["chat"].state == "authorization_required"


@pytest.mark.case("A-345")
async def test_another_sites_link_asks_first_and_its_picture_gets_nothing(listener, login, browse):
    async with browse() as page:
        await page.goto(login.url + "?state=x")
        start = f"{listener.address}/oauth/start/chat"
        status = await page.evaluate(
            "url => fetch(url, {mode: 'no-cors'}).then(() => 'came', () => 'did not come')", start
        )
        assert (status, listener.running.started) == ("did not come", [])
        await page.evaluate("url => { location.href = url }", start)
        await page.wait_for_url(start)
        assert await page.inner_text("h1") == "Authorize chat?"
        assert listener.running.started == []
        await page.get_by_role("link", name="Go on").click()
        await allow(page)
        assert page.url == f"{listener.address}/oauth/done/chat"


@pytest.mark.case("A-336")
async def test_a_user_who_declines_reads_so(listener, login, browse):
    login.answer = {"error": "access_denied", "error_description": "<script>document.title='canary'</script>"}
    async with browse() as page:
        await page.goto(f"{listener.address}/oauth/start/chat")
        await allow(page)

        assert await page.inner_text("h1") == "The authorization was declined"
        assert "canary" not in await page.inner_text("body")
        await page.get_by_role("link", name="Connections").click()
        assert page.url == f"{listener.address}/"


async def test_a_connection_that_works_can_be_authorized_anew(listener, login, browse):
    listener.running.statuses["chat"] = replace(listener.running.statuses["chat"], state="valid")
    async with browse(390) as page:
        await page.goto(listener.address)
        await page.get_by_role("link", name="Authorize chat").click()
        await allow(page)
        assert page.url == f"{listener.address}/oauth/done/chat"
