"""The status page as a real browser shows it and uses it."""

import pytest

from tests.browser.gallery import STATUSES

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark"])
WIDTHS = pytest.mark.parametrize("width", [390, 1280])

# What of a page's text is hard to read: relative luminance by WCAG 2.2, "contrast ratio".
FAINT = """() => {
  const channel = (c) => c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4;
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const pixel = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = pixel(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const faint = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !element.checkVisibility()) continue;
    const [one, two] = [light(pixel(getComputedStyle(element).color)), light(ground(element))].sort((a, b) => b - a);
    if ((one + 0.05) / (two + 0.05) < 4.5) faint.push(walk.currentNode.data.trim());
  }
  return faint;
}"""


@SCHEMES
@WIDTHS
async def test_it_fits_and_can_be_read_at_every_width_and_in_every_light(listener, browse, width, scheme):
    async with browse(width, scheme=scheme) as page:
        for path in (
            "/",
            "/connections/calendar",
            "/connections/nobody",
            "/oauth/done/calendar",
            "/oauth/start/television",
        ):
            await page.goto(listener.address + path)
            assert await page.evaluate("document.documentElement.scrollWidth") <= width
            assert await page.evaluate(FAINT) == []
        assert [text for text in page.complaints if "404" not in text] == []


@SCHEMES
async def test_it_follows_the_systems_choice_of_light(listener, browse, scheme):
    async with browse(scheme=scheme) as page:
        await page.goto(listener.address)
        ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == {"light": "rgb(245, 246, 248)", "dark": "rgb(18, 22, 27)"}[scheme]


async def test_every_connection_stands_there_in_words(listener, browse):
    async with browse(scripts=False) as page:
        await page.goto(listener.address)
        for status in STATUSES:
            shown = await page.locator(f"#c-{status.name}").inner_text()
            assert status.name in shown
        assert "invalid_client" in await page.locator("#c-warehouse").inner_text()
        assert "to authorize" in await page.locator("#c-chat").inner_text()
        assert await page.title() == "Connections · iclient-proxy"


@WIDTHS
async def test_buttons_work_without_a_script(listener, browse, width):
    async with browse(width, scripts=False) as page:
        await page.goto(listener.address)
        row = page.locator("#c-crm")
        await row.get_by_role("button", name="Renew crm").click()
        assert await row.get_by_role("status").inner_text() == "The token was renewed."
        await row.get_by_role("button", name="Test crm").click()
        assert "answered with 200" in await row.get_by_role("status").inner_text()
        assert listener.running.revoked == []

        await row.get_by_text("Revoke…").click()
        await row.get_by_role("button", name="Revoke now crm").click()
        assert "revoked" in await row.get_by_role("status").inner_text()
        assert page.url.startswith(f"{listener.address}/?note=")
    assert (listener.running.renewed, listener.running.tested, listener.running.revoked) == (["crm"], ["crm"], ["crm"])


async def test_the_page_of_one_connection_keeps_to_itself(listener, browse):
    async with browse(scripts=False) as page:
        await page.goto(listener.address)
        await page.get_by_role("link", name="calendar", exact=True).first.click()
        assert await page.get_by_role("heading", level=1).inner_text() == "calendar"
        assert "http://127.0.0.1:7489/oauth/callback/google" in await page.inner_text("main")
        await page.get_by_role("button", name="Renew calendar").click()
        assert page.url.startswith(f"{listener.address}/connections/calendar?note=")
        assert await page.get_by_role("status").inner_text() == "The token was renewed."


async def test_the_script_counts_on_in_the_words_of_the_server(listener, browse):
    async with browse() as page:
        await page.clock.install(time=0)
        await page.clock.pause_at(1000)
        await page.goto(listener.address)
        served = page.locator("#c-crm dd").first
        assert await served.inner_text() == "in 42 min"
        billing = page.locator("#c-billing dd").first
        await page.clock.run_for(10_000)
        assert await billing.inner_text() == "in 3 min 2 s"
        await page.clock.run_for(200_000)
        assert await billing.inner_text() == "18 s ago"
        assert page.complaints == []


async def test_everything_can_be_reached_by_the_keyboard(listener, browse):
    async with browse() as page:
        await page.goto(listener.address)
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.textContent") == "Skip to the content"
        names = set()
        for _ in range(120):
            await page.keyboard.press("Tab")
            names.add(await page.evaluate("document.activeElement.getAttribute('aria-label')"))
        assert {"Authorize chat", "Renew crm", "Test crm", "Revoke crm …"} <= names


async def test_a_page_of_another_site_presses_no_button(listener, browse):
    async with browse() as page:
        await page.goto(listener.address.replace("127.0.0.1", "localhost"))
        action = f"{listener.address}/connections/crm/revoke"
        # The page's own policy would hold the form back, so a page without one tries.
        await page.goto("data:text/html,<form method=post><button>Go</button></form>")
        await page.evaluate("action => { document.querySelector('form').action = action }", action)
        await page.get_by_role("button").click()
        await page.wait_for_url(action)
        assert "cross_site" in await page.inner_text("body")
    assert listener.running.revoked == []
