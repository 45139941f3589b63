"""A human authorizes a connection of a whole proxy: browser, authorization server on another site, upstream."""

import asyncio
import random

import httpx
import pytest
import pytest_asyncio

from proxy.clock import SystemClock
from proxy.definitions.models import Connection, Definitions, IClient, Route
from proxy.definitions.settings import AdminListener, Limits, Listeners, ReverseListener, Shutdown, TcpBind, UnixBind
from proxy.definitions.templates.placeholders import literal
from proxy.definitions.templates.urls import compile_url
from proxy.outbound.resolve import Resolver
from proxy.runtime.assemble import Workshop
from proxy.runtime.service import Service
from proxy.runtime.watch import Watch
from proxy.secret import Secret
from tests.browser.authorization_server import LoginServer
from tests.support.scripts import answer_by_token
from tests.support.upstream import Upstream, listen

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]


class Proxy:
    """A service of this process with one interactive connection `crm` of the iClient `acme`; `api` is its upstream."""

    def __init__(self, folder):
        self.door = UnixBind(path=str(folder / "door.sock"))

    async def start(self):
        self.login = LoginServer()
        await self.login.start()
        self.api = Upstream(listen())
        await self.api.start()
        definitions = self.definitions()
        workshop = Workshop(
            definitions, clock=SystemClock(), entropy=random.SystemRandom(), recorder=None, resolver=Resolver()
        )
        assembly = workshop.assemble(definitions, spread=0.0)
        self.service = Service(workshop, assembly, self.read, SystemClock(), Watch(()))
        await self.service.start()
        self.admin = workshop.admin_base
        self.running = asyncio.create_task(self.service.run(), name="proxy")

    def definitions(self):
        iclient = IClient(
            name="acme", grant_type="authorization_code", client_auth="client_secret_basic", client_id=literal("me"),
            client_secret=Secret("canary-secret"), authorization_url=compile_url(self.login.url),
            token_url=compile_url(self.login.token_url), revocation_url=compile_url(self.login.revocation_url),
            valid_domains=(self.login.authority,), allow_insecure=True,
        )  # fmt: skip
        crm = Connection(
            name="crm", iclient=iclient, base_url=f"http://127.0.0.1:{self.api.port}", route=Route(prefix="/crm")
        )
        return Definitions(
            listeners=Listeners(
                reverse=(ReverseListener(bind=self.door),), admin=AdminListener(bind=TcpBind(host="127.0.0.1", port=0))
            ),
            shutdown=Shutdown(drain_delay=0.0, grace=1.0),
            limits=Limits(token_wait=2.0),
            connections=(crm,),
        )

    def read(self):
        raise AssertionError("nobody asked for a reload")

    async def get(self):
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=self.door.path)) as client:
            return await client.get("http://localhost/crm/x")

    async def close(self):
        self.service.stop()
        await self.running
        await self.api.close()
        await self.login.close()


@pytest_asyncio.fixture(loop_scope="module")
async def proxy(tmp_path):
    made = Proxy(tmp_path)
    await made.start()
    yield made
    await made.close()


@pytest.mark.case("A-331", "A-342")
async def test_once_a_human_has_said_yes_requests_get_through_until_the_grant_is_revoked(proxy, browse):
    proxy.api.always(answer_by_token)
    refused = await proxy.get()
    assert (refused.status_code, refused.json()["code"]) == (503, "authorization_required")

    async with browse(scripts=False) as page:
        await page.goto(proxy.admin.replace("127.0.0.1", "localhost"))
        await page.get_by_role("link", name="Authorize crm").click()
        assert page.url.startswith(proxy.login.url)
        await page.get_by_role("button", name="Allow").click()
        assert page.url == f"{proxy.admin}/oauth/done/crm"
        assert await page.inner_text("h1") == "crm is authorized"
        assert "canary-" not in await page.content()

        assert (await proxy.get()).status_code == 200
        assert proxy.api.requests[-1].values(b"authorization") == [b"Bearer canary-access-1"]

        await page.get_by_role("link", name="Look at crm").click()
        assert "authorized" in await page.inner_text(".events")
        assert f"{proxy.admin}/oauth/callback/acme" in await page.inner_text("main")
        await page.get_by_role("button", name="Test crm").click()
        assert "answered with 200" in await page.get_by_role("status").inner_text()

        await page.get_by_text("Revoke…").click()
        await page.get_by_role("button", name="Revoke now crm").click()
        assert "revoked" in await page.get_by_role("status").inner_text()
    assert "canary-r" in proxy.login.revoked
    assert (await proxy.get()).json()["code"] == "authorization_required"
    assert proxy.login.refused == 0


@pytest.mark.case("A-331", "A-332")
async def test_the_way_back_is_good_once_and_in_one_browser(proxy, browse):
    async with browse() as page, browse() as other:
        await page.goto(f"{proxy.admin}/oauth/start/crm")
        async with page.expect_response(lambda response: "/oauth/callback/" in response.url) as came:
            await page.get_by_role("button", name="Allow").click()
        back = (await came.value).url
        await page.wait_for_url(f"{proxy.admin}/oauth/done/crm")

        for browser in (page, other):
            again = await browser.goto(back)
            assert again.status == 400
            assert await browser.inner_text("h1") == "This authorization is not under way"
    assert len(proxy.login.issued) == 1


async def test_a_program_authorizes_without_a_browser_on_its_machine(proxy):
    async with httpx.AsyncClient(base_url=proxy.admin) as program:
        begun = (await program.post("/api/connections/crm/authorize")).json()
        # Where the human sits nobody answers at the redirect URL: it is only copied.
        redirected = (await program.post(begun["authorization_url"])).headers["location"]
        pasted = {"url": redirected, "session": begun["session"]}
        redeemed = await program.post("/api/connections/crm/redeem", json=pasted)
        again = await program.post("/api/connections/crm/redeem", json=pasted)

    assert (redeemed.status_code, redeemed.json()["state"]) == (200, "valid")
    assert (again.status_code, again.json()["code"]) == (400, "invalid_state")
