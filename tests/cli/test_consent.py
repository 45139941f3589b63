"""A human's consent from the command line, with a running proxy and an authorization server at the other end."""

import asyncio
import json
import os
import re
import sys
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_asyncio

from tests.cli.command import ROOT, iclient_proxy
from tests.support.authorization_server import AuthorizationServer, error, respond, say, token
from tests.support.deadline import awaiting
from tests.support.process import Process
from tests.support.scripts import response
from tests.support.upstream import Upstream, listen

pytestmark = pytest.mark.asyncio(loop_scope="module")

# What a browser does of all this: it follows to the authorization server, which sends it back with a code.
BROWSER = f"""#!{sys.executable}
import sys
from http.client import HTTPConnection
from urllib.parse import parse_qs, urlsplit

def get(url, **fields):
    split = urlsplit(url)
    connection = HTTPConnection(split.netloc)
    connection.request("GET", f"{{split.path}}?{{split.query}}", headers=fields)
    answer = connection.getresponse()
    assert answer.status == 303, answer.read()
    connection.close()
    return answer

start = get(sys.argv[1], **{{"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}})
cookie = start.headers["Set-Cookie"].partition(";")[0]
query = parse_qs(urlsplit(start.headers["Location"]).query)
get(f"{{query['redirect_uri'][0]}}?code=canary-code&state={{query['state'][0]}}", Cookie=cookie)
"""


class Running:
    def __init__(self, folder, server):
        self.folder = folder
        self.server = server
        self.api = Upstream(listen())

    async def start(self):
        await self.api.start()
        self.api.always(self._answer)
        self.environment = {"CLIENT_SECRET": "canary-secret"}
        self.process = await Process.start(self.definitions(), self.folder, self.environment)
        await self.process.until_listening()
        self.url = "http://{}:{}".format(*self.process.admin)

    def definitions(self):
        base = self.server.url.removesuffix("/token")
        iclient = {
            "client_id": "my-app",
            "client_secret": {"env": "CLIENT_SECRET"},
            "token_url": self.server.url,
            "revocation_url": f"{base}/revoke",
            "valid_domains": [self.server.authority],
            "allow_insecure": True,
        }
        browser = {"grant_type": "authorization_code", "authorization_url": f"{base}/authorize", **iclient}
        device = {"grant_type": "device_code", "device_authorization_url": f"{base}/device", **iclient}
        api = f"http://127.0.0.1:{self.api.port}"
        return {
            "listeners": {"reverse": {"bind": "127.0.0.1:0"}, "admin": {"bind": "127.0.0.1:0"}},
            "shutdown": {"drain_delay": "10ms", "grace": "2s"},
            "connections": {
                "crm": {"base_url": api, "iclient": browser},
                "tv": {"base_url": api, "iclient": device},
            },
        }

    async def _answer(self, request):
        await request.send(response(b"", b"X-Token: " + (request.token or "").encode()))

    async def ask(self, *arguments, **options):
        environment = {"ICLIENT_PROXY_ADMIN": self.url, **options.pop("environment", {})}
        return await iclient_proxy(*arguments, environment=environment, cwd=self.folder, **options)

    async def close(self):
        await self.process.stop()
        await self.api.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory):
    async with AuthorizationServer() as server:
        made = Running(tmp_path_factory.mktemp("consent"), server)
        await made.start()
        yield made
        await made.close()


async def test_a_browser_brings_the_grant_and_revoke_gives_it_back(running):
    browser = running.folder / "browser"
    browser.write_text(BROWSER)
    browser.chmod(0o700)
    running.server.script(token(refresh_token="r1"))

    done = await running.ask("authorize", "crm", environment={"BROWSER": str(browser)})

    assert (done.status, done.out) == (0, "crm: authorized, expires in 59m\n")
    assert running.server.asked[-1].form["code"] == "canary-code"
    good = await running.ask("ping", "crm")
    assert (good.status, good.out.split(" in ")[0]) == (0, "crm: good, 200")
    running.server.script(respond(200), respond(200))
    given_back = await running.ask("revoke", "crm")
    assert (given_back.status, given_back.out) == (0, "crm: revoked\n")
    assert [asked.form["token_type_hint"] for asked in running.server.asked[-2:]] == ["refresh_token", "access_token"]
    assert "authorization_required" in (await running.ask("status")).out


async def test_a_pasted_url_brings_it_from_any_browser(running):
    running.server.script(token(refresh_token="r2"))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "proxy", "authorize", "crm", "--paste", "--admin", running.url,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}, cwd=running.folder,
    )  # fmt: skip
    async with awaiting("the URL to open"):
        said = (await process.stderr.readuntil(b"Paste that URL: ")).decode()
    query = parse_qs(urlsplit(re.search(r"http\S+/authorize\S+", said)[0]).query)
    pasted = f"{query['redirect_uri'][0]}?code=canary-pasted&state={query['state'][0]}\n"

    async with awaiting("the end of authorize"):
        out, err = await process.communicate(pasted.encode())

    assert (process.returncode, out.decode()) == (0, "crm: authorized, expires in 59m\n"), err
    assert running.server.asked[-1].form["code"] == "canary-pasted"
    again = await running.ask("authorize", "crm", "--paste", stdin=pasted)
    assert again.status == 69


async def test_a_device_brings_it(running):
    running.server.script(
        say(200, {"device_code": "canary-device", "user_code": "WDJB-MJHT", "interval": 1, "expires_in": 60,
                  "verification_uri": "https://acme.example/device"}),
        error("authorization_pending"),
        token(refresh_token="r3"),
    )  # fmt: skip

    done = await running.ask("authorize", "tv")

    assert (done.status, done.out) == (0, "tv: authorized, expires in 59m\n")
    assert "and enter WDJB-MJHT" in done.err


async def test_definitions_are_read_again_on_demand(running):
    file = running.folder / "definitions.yaml"
    content = running.definitions()

    same = await running.ask("reload")
    content["connections"]["tv"]["on_no_token"] = "passthrough"
    file.write_text(json.dumps(content))
    changed = await running.ask("reload")
    file.write_text(json.dumps({**content, "nonsense": 1}))
    faulty = await running.ask("reload")

    assert (same.status, same.out) == (0, "Nothing has changed.\n")
    assert changed.status == 0
    assert changed.out in {"Applied; changed: tv\n", "Nothing has changed.\n"}  # who watches the file may be faster
    assert (faulty.status, faulty.out) == (78, "")
    assert "nonsense" in faulty.err
