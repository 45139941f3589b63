"""The story: one process, every grant, every kind of fault, every page and command; everything it shows is kept.

`Story.surfaces` maps what was looked at to its bytes. What shows a secret because it was asked to is in `shown`: the
command `token`, the token that `request` brought to an echo, the URL and session that begin an authorization.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

from tests.cli.command import python
from tests.secrets.cast import CRASHING, FAULTS, Servers, Words, definitions
from tests.support.authorization_server import respond, say
from tests.support.client import Client, Response
from tests.support.process import ROOT, Process

if TYPE_CHECKING:
    from collections.abc import Mapping

MISTAKES: Final = Path(__file__).parent / "mistakes"
PLAIN: Final = ("cc", "query", "password", "jwt", "signed", "asserted", "ready", "refresh", "exchange", "templated")
PATHS: Final = ("", "/refused", "/malformed", "/conflicting", "/cut", "/gone")
PAGES: Final = (
    "/livez", "/readyz?verbose", "/startupz", "/metrics", "/", "/connections/cc", f"/connections/{CRASHING}",
    "/api/connections", "/proxy.pac", "/ca.pem", "/oauth/callback/code?code=stolen&state=guessed", "/nowhere",
)  # fmt: skip


class Story:
    """Runs once in `folder`; afterwards all is in `surfaces` and `shown`."""

    def __init__(self, folder: Path, seed: int = 1, *, thorough: bool = False) -> None:
        self.folder = folder
        self.thorough = thorough  # every command in every format: minutes, and nothing new from the second on
        self.words = Words(seed)
        self.servers = Servers(self.words)
        self.surfaces: dict[str, bytes] = {}
        self.shown: dict[str, bytes] = {}
        self.answers: list[Response] = []

    async def start(self, **changes: Any) -> None:
        """Start the servers and the process."""
        await self.servers.authorization.__aenter__()
        await self.servers.upstream.start()
        self.written = {**definitions(self.words, self.servers, self.folder), **changes}
        self.temporary = self.folder / "tmp"
        self.temporary.mkdir()
        self.environment = {
            **self.words.environment,
            "PYTHONPATH": f"{MISTAKES}:{ROOT}",
            "PYTHONASYNCIODEBUG": "1",
            "TMPDIR": str(self.temporary),
            "XDG_STATE_HOME": str(self.folder / "state"),
        }
        self.process = await Process.start(self.written, self.folder, self.environment)
        await self.process.until_listening("reverse", "forward", "admin")

    async def close(self) -> None:
        """End the process and the servers; what it wrote until its very end is the last surface."""
        try:
            await self.process.stop()
        finally:
            await self.servers.authorization.__aexit__()
            await self.servers.upstream.close()
        self.surfaces["standard output and error"] = self.process.output.encode()

    # ------------------------------------------------------------------------------------------------------- chapters

    async def tell(self) -> None:
        """Run every chapter."""
        await self.grants()
        await self.faults()
        await self.humans()
        await self.forwarded()
        await self.mistakes()
        await self.pages()
        await self.reloads()
        await self.commands()
        await self.store_fails()
        self.proc()
        self.files()
        self.surfaces["own answers"] = b"\n".join(
            repr(each.fields).encode() + each.body for each in self.answers if each.values(b"proxy-status")
        )

    async def grants(self) -> None:
        """Every grant, and every way in which an upstream may answer."""

        async def all_of(name: str) -> None:
            for path in PATHS:
                await self.ask(f"/{name}{path}")

        await asyncio.gather(*map(all_of, PLAIN))

    async def faults(self) -> None:
        """Every way in which an authorization server may fail; requests that must not pass."""
        await asyncio.gather(*(self.ask(f"/{name}/x") for name in FAULTS))
        words = self.words.environment
        bearer = words["BEARER_OF_THE_LISTENER"]
        for target in (
            f"/cc/{words['SECRET_OF_CC']}", f"/none/{bearer}?token={bearer}", f"/cc/%2e%2e/{words['STATIC_HEADER']}",
            f"/cc/{_encoded(words['STATIC_HEADER'])}", f"/none/{_encoded(bearer)}", f"/{_encoded(_encoded(bearer))}",
        ):  # fmt: skip
            await self.ask(target.replace(" ", "%20"))
        await self.ask("/cc/x", bearer=words["SECRET_OF_CC"].replace(" ", ""))  # not what the listener wants
        await self.ask("/cc/x", extra=f"X-Odd : {bearer}\r\n")
        await self.ask(f"/cc/x\x01{bearer}")
        await self.ask("/cc/x", extra=f"Content-Length: {bearer}\r\n")

    async def humans(self) -> None:
        """An authorization by browser, by paste and by device, with its failures."""
        server = self.servers.authorization
        words = self.words
        begun = await self.admin("/oauth/start/code", "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n"
                                                      "Sec-Fetch-Site: same-origin\r\n")  # fmt: skip
        [to], [cookie] = begun.values(b"location"), begun.values(b"set-cookie")
        state = parse_qs(urlsplit(to.decode()).query)["state"][0]
        session = cookie.decode().partition("=")[2].partition(";")[0]
        words.learn("state", state)
        words.learn("cookie", session)
        self.shown["/oauth/start: state in the URL, session in the cookie"] = to + cookie
        code = words.new("authorization code")
        back = f"/oauth/callback/code?code={code}&state={state}&iss=https://evil.example/{code}"
        await self.surface("a callback", back, f"Cookie: {cookie.decode().partition(';')[0]}\r\n")
        for path in ("authorize", "authorize"):
            begun = await self.post(f"/api/connections/code/{path}")
            content = json.loads(begun.body)
            words.learn("session of a program", content["session"])
            state = parse_qs(urlsplit(content["authorization_url"]).query)["state"][0]
            words.learn("state of a program", state)
            self.shown["/api/…/authorize: URL and session"] = begun.body
        host = "{}:{}".format(*self.process.admin)
        code = words.new("another code")
        url = f"http://{host}/oauth/callback/code?code={code}&state={state}"
        self.surfaces["a redeemed code"] = (
            await self.post("/api/connections/code/redeem", {"url": url, "session": content["session"]})
        ).body
        self.surfaces["a code redeemed twice"] = (
            await self.post("/api/connections/code/redeem", {"url": url, "session": content["session"]})
        ).body
        server.script(
            say(200, {"device_code": words.new("device code"), "user_code": "WDJB-MJHT", "expires_in": 60,
                      "interval": 1, "verification_uri": server.url_of("/verify")}),
            at="/device",
        )  # fmt: skip
        server.script(*(respond(503, self.words.texts["secret of cc"].encode()) for _ in range(3)), at="/revoke")
        self.surfaces["a device"] = (await self.post("/api/connections/device/device")).body
        await self.process.until_logged("renewal", connection="device")
        for name in ("code", "device"):
            await self.ask(f"/{name}/x")

    async def forwarded(self) -> None:
        """The forward listener: plain, CONNECT, inside an intercepted stream, with a wrong credential, without one."""
        words = self.words.environment
        port = self.servers.upstream.port
        right = f"app:{words['PASSWORD_OF_THE_LISTENER']}"
        for credential in (right, f"app:{words['SECRET_OF_CC'].replace(' ', '')}", "", right):
            field = f"Proxy-Authorization: Basic {_base64(credential)}\r\n" if credential else ""
            await self.forward(
                f"GET http://127.0.0.1:{port}/x?{_base64(credential)} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{field}\r\n"
            )
        unclaimed = (
            f"http://user:{words['SECRET_OF_CC'].replace(' ', '')}@127.0.0.1:1/{words['PASSWORD'].replace(' ', '')}"
        )
        await self.forward(f"GET {unclaimed} HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n")
        client = await Client.connect(self.process.listening["forward"][0])
        try:
            field = f"Proxy-Authorization: Basic {_base64(right)}\r\n"
            await client.send(f"CONNECT localhost:{port} HTTP/1.1\r\nHost: localhost:{port}\r\n{field}\r\n".encode())
            assert b" 200 " in await client.read_until(b"\r\n\r\n")
            context = ssl.create_default_context(cafile=str(self.folder / "ca" / "cert.pem"))
            await client.secure(context, "localhost")
            self.answers.append(await client.ask(f"GET /x HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode()))
        finally:
            await client.close()

    async def mistakes(self) -> None:
        """Mistakes of ours, each with a secret in its text and in its frames."""
        await self.ask(f"/{CRASHING}/x")
        with suppress(AssertionError):  # the stream ends without an answer
            await self.ask("/mistake")
        await self.post(f"/api/connections/{CRASHING}/renew")
        await self.surface("a page that fails", f"/connections/{CRASHING}")

    async def pages(self) -> None:
        """Every page of the admin listener, and what is refused there."""
        words = self.words.environment
        for path in PAGES:
            await self.surface(f"the page {path}", path)
        for name in self.written["connections"]:
            await self.surface(f"the page of {name}", f"/connections/{name}")
        tested = (name for name in self.written["connections"] if name not in ("code", "device"))
        await asyncio.gather(*(self.posted(f"/api/connections/{name}/test") for name in tested))
        await self.posted("/api/connections/cc/renew")
        await self.posted("/api/connections/refresh/revoke")
        await self.surface("a page for another Host", "/", host=words["SECRET_OF_CC"].replace(" ", ""))
        await self.surface("an odd page", f"/{words['PASSWORD'].replace(' ', '')}?{words['SUBJECT_TOKEN']}")

    async def reloads(self) -> None:
        """A reload that changes things, and faulty ones that have secrets in the wrong places."""
        file = self.folder / "definitions.yaml"
        good = file.read_text()
        words = self.words.environment
        secret = words["SECRET_OF_CC"]
        changed = json.loads(good)
        changed["connections"]["cc"]["timeouts"] = {"response": "7s"}
        bad = [
            {"connections": {**changed["connections"], "bad": {"base_url": secret}}},
            {"connections": {**changed["connections"], "bad": {"iclient": {"client_secret": secret}}}},
            {"store": {"kind": "redis", "url": f"redis://:{secret}@cache", "key": {"env": "PASSWORD"}}},
            {"listeners": {"admin": {"auth": {"env": secret}}}},
        ]
        # The name of a file or a key is shown, whatever it is: only who knows the secret can tell. The process does.
        worse = [{"listeners": {"admin": {"auth": {"file": f"/nowhere/{secret}"}}}}, {secret: secret}]
        for number, content in enumerate([*bad, *worse, {}]):
            file.write_text(json.dumps({**changed, **content}, indent=1))
            await self.posted("/api/reload")
            if content not in worse:
                for form in ("text", "json", "github")[: None if self.thorough else 1 + number % 2]:
                    self.surfaces[f"check {number}, {form}"] = await self.command("check", "--format", form)
        await self.surface("the page after reloads", "/")

    async def commands(self) -> None:
        """Every command that reads definitions or asks the running proxy, in both formats, and with faults."""
        admin = ("--admin", "http://{}:{}".format(*self.process.admin))
        explained = self.written["connections"] if self.thorough else ("cc", "templated")
        failing = FAULTS if self.thorough else ("echoes",)
        runtimes = ("curl", "python", "node", "java", "go", "dotnet", "php", "docker", "k8s")
        asked = [
            ("status", *admin), ("ping", "cc", *admin), ("renew", "cc", *admin), ("renew", CRASHING, *admin),
            ("renew", "echoes", *admin), ("ping", "pages", *admin), ("reload", *admin),
            ("status", "--admin", "http://127.0.0.1:1"),
            *(("explain", name, f"/{name}/x") for name in explained), *(("token", name) for name in failing),
        ]  # fmt: skip
        both = [(*words, "--format", form) for words in asked for form in ("text", "json")]
        once = [
            ("token", "--help"), ("--debug", "token", CRASHING),
            *(("env", "--runtime", runtime) for runtime in runtimes[: None if self.thorough else 1]),
        ]  # fmt: skip
        at_once = asyncio.Semaphore(3)

        async def run(words: tuple[str, ...], kept: dict[str, bytes]) -> None:
            async with at_once:
                kept[" ".join(word for word in words if not word.startswith("http"))] = await self.command(*words)

        await asyncio.gather(
            *(run(words, self.surfaces) for words in (*both, *once)),
            *(run(("token", "cc", "--format", form), self.shown) for form in ("text", "json")),
        )

    async def store_fails(self) -> None:
        """A folder of grants that nothing can be written to, and what it held."""
        grants = next(self.folder.rglob("grants"))
        kept = [path for path in grants.rglob("*") if path.is_file()]
        assert kept, "the store holds nothing"
        self.surfaces["the store"] = b"\n".join(path.read_bytes() for path in kept)
        for path in kept:
            path.unlink()
            path.mkdir()
        await self.posted("/api/connections/password/renew")

    def proc(self) -> None:
        """What the kernel shows of the process to root."""
        place = Path(f"/proc/{self.process.pid}")
        for name in ("cmdline", "environ", "maps", "status", "stat", "comm"):
            self.surfaces[f"/proc/PID/{name}"] = (place / name).read_bytes()
        links = []
        for each in (place / "fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                links.append(str(each.readlink()))
        self.surfaces["/proc/PID/fd"] = "\n".join(links).encode()

    def files(self) -> None:
        """What it left on disk: nothing in the folder for temporary files, nothing beside what was there."""
        self.surfaces["temporary files"] = repr(sorted(self.temporary.rglob("*"))).encode()
        own = {"definitions.yaml", "key.pem", "client.pem", "client.key", "assertion.jwt", "cert.pem"}
        left = [path for path in self.folder.rglob("*") if path.is_file() and path.name not in own]
        left = [path for path in left if path.parent.name != "ca"]
        self.surfaces["files"] = b"\n".join(str(path).encode() + b"\n" + path.read_bytes() for path in left)

    # ---------------------------------------------------------------------------------------------------------- means

    async def ask(self, target: str, *, bearer: str | None = None, extra: str = "") -> None:
        """Send one request to the reverse listener, and keep the answer."""
        credential = bearer or self.words.environment["BEARER_OF_THE_LISTENER"]
        head = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {credential}\r\n{extra}\r\n"
        await self._kept(self.process.reverse, head)

    async def forward(self, head: str) -> None:
        """Send one request to the forward listener, and keep the answer."""
        await self._kept(self.process.listening["forward"][0], head)

    async def _kept(self, address: tuple[str, int], head: str) -> None:
        client = await Client.connect(address)
        try:
            self.answers.append(await client.ask(head.encode("latin-1")))
        finally:
            await client.close()

    async def admin(self, path: str, fields: str = "", host: str = "") -> Response:
        """Ask the admin listener, as a caller on this machine."""
        client = await Client.connect(self.process.admin)
        try:
            at = host or "{}:{}".format(*self.process.admin)
            return await client.ask(f"GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n{fields}\r\n".encode())
        finally:
            await client.close()

    async def surface(self, name: str, path: str, fields: str = "", host: str = "") -> None:
        """Keep a page with all its fields."""
        got = await self.admin(path, fields, host)
        self.surfaces[name] = b"%d %s\n" % (got.status, repr(got.fields).encode()) + got.body

    async def post(self, path: str, content: Mapping[str, str] | None = None) -> Response:
        """Post JSON to the admin listener."""
        body = json.dumps(content) if content is not None else ""
        kind = "Content-Type: application/json\r\n" if content is not None else ""
        client = await Client.connect(self.process.admin)
        try:
            head = (
                f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{kind}Content-Length: {len(body)}\r\n"
            )
            return await client.ask(f"{head}\r\n{body}".encode())
        finally:
            await client.close()

    async def posted(self, path: str) -> None:
        """Post nothing, and keep the answer."""
        got = await self.post(path)
        self.surfaces[f"POST {path} ({len(self.surfaces)})"] = repr(got.fields).encode() + got.body

    async def command(self, *words: str) -> bytes:
        """Run a command on the definitions of the story; return both of its outputs."""
        config = ("--config", str(self.folder / "definitions.yaml"))
        takes = {"check", "explain", "token", "env", "status", "ping", "renew", "reload"}
        verb = next(word for word in words if not word.startswith("-"))
        more = config if verb in takes and "--admin" not in words and "--help" not in words else ()
        done = await python(
            "-m", "proxy", *words, *more, cwd=self.folder,
            environment={
                **self.environment, "PYTHONPATH": f"{MISTAKES}:{ROOT}", "PYTHONASYNCIODEBUG": "", "PYTHONWARNINGS": ""
            },
        )  # fmt: skip
        return f"{done.status}\n{done.out}\n{done.err}".encode()


def _encoded(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


async def told(folder: Path, seed: int = 1, *, thorough: bool = False) -> Story:
    """Tell the whole story in `folder`."""
    story = Story(folder, seed, thorough=thorough)
    await story.start()
    try:
        async with asyncio.timeout(900):
            await story.tell()
    finally:
        await story.close()
    return story
