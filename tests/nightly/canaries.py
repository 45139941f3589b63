"""Canaries in the long form: a million log lines of the real process and every surface of the whole story, searched."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.request import Request as Asked
from urllib.request import urlopen

from tests.secrets.story import told
from tests.support.canaries import Canary, Hit, Scanner, canary, spelled
from tests.support.deadline import eventually
from tests.support.figures import Figure
from tests.support.process import ROOT
from tests.support.scripts import response, unauthorized
from tests.support.stage import TokenEndpoint
from tests.support.upstream import Upstream, listen

if TYPE_CHECKING:
    from tests.support.upstream import Request

LINES: Final = 1_000_000
_STREAMS: Final = 8
_PIPELINED: Final = 40
_PIECE: Final = 1 << 25
_ROTATION: Final = 1.5  # seconds from one renewal to the next; attempts of one connection are a second apart at least
# How a path may hold a secret: to reverse one, or to write it in hexadecimal, takes somebody who means to.
_DRESSES: Final = (
    "as it is", "percent-encoded", "percent-encoded here and there", "percent-encoded twice", "Base64",
    "Base64, one byte later", "Base64, two bytes later", "Base64 for URLs", "its first twelve",
)  # fmt: skip
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND")


async def measure(folder: Path, scale: float, seed: int) -> list[Figure]:
    """Search the log of so many lines, then every surface of the story; count the series of metrics beside it."""
    entropy = random.Random(seed)
    lines = await Lines(folder, entropy).measure(max(1000, int(LINES * scale)))
    (folder / "story").mkdir()
    story = await told(folder / "story", seed, thorough=scale >= 0.1)
    control = Scanner([story.words.control])
    hits = sum(len(story.words.scanner.scan(data)) for data in story.surfaces.values())
    planted = spelled(story.words.control.text).values()
    found = sum(bool(control.scan(data + b"\n" + word)) for data in story.surfaces.values() for word in planted)
    wanted = len(story.surfaces) * len(planted)
    total = sum(map(len, story.surfaces.values()))
    size = f"{len(story.surfaces)} surfaces, {total:,} bytes, {len(story.words.texts):,} secrets"
    return [
        *lines,
        Figure(f"secrets on all surfaces of the story ({size})", str(hits), "0", hits == 0),
        Figure(
            "words planted into each surface in each dress, and found",
            f"{found:,} of {wanted:,}",
            "all",
            found == wanted,
        ),
    ]


class Lines:
    """One process, requests that have secrets, random methods, hosts and paths in them, and the log in a file."""

    def __init__(self, folder: Path, entropy: random.Random) -> None:
        self._folder = folder
        self._entropy = entropy
        self._secret, self._header, self._bearer, self._control = (
            canary(name, entropy) for name in ("client secret", "static header", "bearer of admin", "control")
        )
        self._tokens = TokenEndpoint()
        self._upstream = Upstream(listen())
        self._upstream.always(self._respond)
        self._answers = 0
        self._over = asyncio.Event()
        self.hits: list[Hit] = []
        self._issued: list[Canary] = []

    def _next_token(self) -> None:
        """Have another token answered to the next request for one; a rotation is seldom enough to be one at a time."""
        self._issued.append(canary(f"token {len(self._issued) + 1}", self._entropy))
        self._tokens.members["crm"] = {"access_token": self._issued[-1].text}

    async def _respond(self, request: Request) -> None:
        await request.read_body()
        refuse = self._entropy.random() < 0.001
        told = request.values(b"authorization")[0]
        await request.send(
            unauthorized(b'Bearer error="%s"' % told[7:]) if refuse else response(b"{}", b"X-Told: " + told)
        )

    def _definitions(self) -> dict[str, Any]:
        iclient = {
            "grant_type": "client_credentials", "client_id": "crm", "client_secret": {"env": "CLIENT_SECRET"},
            "token_url": self._tokens.url, "valid_domains": [self._tokens.authority], "allow_insecure": True,
        }  # fmt: skip
        crm = {
            "base_url": f"http://127.0.0.1:{self._upstream.port}",
            "secrets": {"key": {"env": "HEADER"}},
            "headers": {"X-Api-Key": "{{{connection.secrets.key}}}"},
            "iclient": iclient,
        }
        return {
            "log": {"level": "debug"},
            "listeners": {
                "reverse": {"bind": "127.0.0.1:0"},
                "admin": {"bind": "127.0.0.1:0", "auth": {"env": "ADMIN_BEARER"}},
            },
            "connections": {"crm": crm},
        }

    async def measure(self, number: int) -> list[Figure]:
        """Have so many lines written and search them."""
        await self._tokens.start()
        await self._upstream.start()
        self._tokens.secrets["crm"] = self._secret.text
        self._next_token()
        file = self._folder / "log"
        definitions = self._folder / "definitions.yaml"
        definitions.write_text(json.dumps(self._definitions()))
        with file.open("wb") as output:
            process = subprocess.Popen(  # noqa: ASYNC220 its output is a file, not a pipe
                [sys.executable, "-m", "proxy", "run", "--config", str(definitions)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self._folder,
                env={
                    "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(self._folder),
                    "CLIENT_SECRET": self._secret.text, "HEADER": self._header.text, "ADMIN_BEARER": self._bearer.text,
                },
            )  # fmt: skip
        try:
            return await self._played(process, file, number)
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait, 30)
            await self._upstream.close()
            await self._tokens.close()

    async def _played(self, process: subprocess.Popen[bytes], file: Path, number: int) -> list[Figure]:
        listening: dict[str, tuple[str, int]] = {}

        def has_begun() -> bool:
            for line in file.read_bytes().splitlines():
                said = json.loads(line)
                if said["event"] == "listening":
                    host, port = re.fullmatch(r"(.*):(\d+)", said["address"]).groups()
                    listening[said["listener"]] = (host, int(port))
            return len(listening) == 2

        await eventually("a process that listens", has_begun)
        self._admin = listening["admin"]
        await self._traffic(listening["reverse"], number // 50)
        before = await asyncio.to_thread(self._series)
        renewing = asyncio.create_task(self._renew(), name="renewals")
        begun = time.monotonic()
        try:
            await self._traffic(listening["reverse"], number)
        finally:
            self._over.set()
            await renewing
        seconds = time.monotonic() - begun
        after = await asyncio.to_thread(self._series)
        process.terminate()
        await asyncio.to_thread(process.wait, 30)
        return await asyncio.to_thread(self._searched, file, before, after, seconds)

    def _searched(self, file: Path, before: int, after: int, seconds: float) -> list[Figure]:
        scanner = Scanner((self._secret, self._header, self._bearer, *self._issued))
        control = Scanner([self._control])
        lines = hits = found = wanted = controls = dropped = masked = 0
        rest = b""
        with file.open("rb") as log:
            while piece := log.read(_PIECE):
                whole, _, rest = (rest + piece).rpartition(b"\n")
                lines += whole.count(b"\n") + 1
                hits += len(seen := scanner.scan(whole))
                self.hits = (self.hits + seen)[:20]
                controls += len(control.scan(whole))
                dropped += whole.count(b"log_lines_dropped")
                masked += whole.count(b"***")
                for word in spelled(self._control.text).values():
                    wanted += 1
                    at = whole.find(b"\n", len(whole) // 2) + 1
                    found += bool(control.scan(whole[:at][-4096:] + word + b"\n" + whole[at:][:4096]))
        rate = f"{lines / max(seconds, 1e-9):,.0f}/s"
        return [
            Figure(f"secrets in {lines:,} log lines ({masked:,} masks, {rate})", str(hits), "0", not hits),
            Figure("log lines dropped", str(dropped), "0", dropped == 0),
            Figure("words planted into the log, found in each dress", f"{found} of {wanted}", "all", found == wanted),
            Figure("a word that is no secret, sent in each dress", f"{controls:,} times seen", "> 0", controls > 0),
            Figure(f"series of /metrics before and after {self._answers:,} random requests", f"{before}, {after}",
                   "equal", before == after),
        ]  # fmt: skip

    async def _renew(self) -> None:
        """Rotate the token now and then; requests go on to hold the earlier ones."""
        while not self._over.is_set():
            self._next_token()
            await asyncio.to_thread(self._post, "/api/connections/crm/renew")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), _ROTATION)

    def _post(self, path: str) -> None:
        with suppress(OSError), urlopen(Asked("http://{}:{}{}".format(*self._admin, path), method="POST")) as answer:
            answer.read()

    def _series(self) -> int:
        with urlopen("http://{}:{}/metrics".format(*self._admin)) as answer:
            names = [line.split(b" ")[0] for line in answer if line.startswith(b"iclient_proxy_")]
        assert len(names) == len(set(names))
        return len(names)

    async def _traffic(self, address: tuple[str, int], number: int) -> None:
        """Send requests until so many more are answered."""
        end = self._answers + number
        async with asyncio.TaskGroup() as streams:
            for each in range(_STREAMS):
                streams.create_task(self._stream(address, end), name=f"stream {each}")

    async def _stream(self, address: tuple[str, int], end: int) -> None:
        while self._answers < end:
            reader, writer = await asyncio.open_connection(*address)
            try:
                while self._answers < end:
                    writer.write(b"".join(self._request() for _ in range(_PIPELINED)))
                    answered = 0
                    last = b""
                    while answered < _PIPELINED and (data := await reader.read(1 << 16)):
                        both = last + data
                        answered += both.count(b"HTTP/1.1 ") - last.count(b"HTTP/1.1 ")
                        last = both[-16:]
                    self._answers += answered
                    if answered < _PIPELINED:
                        break  # the proxy closed the stream: a request was refused
            except ConnectionError:
                continue
            finally:
                writer.close()

    def _request(self) -> bytes:
        entropy = self._entropy
        chance = entropy.random()
        token = entropy.choice(
            self._issued[-3:-1] or self._issued
        )  # three earlier ones are known; the newest is on its way
        own = (self._secret.text, self._header.text, token.text, self._control.text)
        word = entropy.choice(own if chance < 0.2 else (*own[:2], self._bearer.text, self._control.text))
        dress = spelled(word)[entropy.choice(_DRESSES)].decode()
        noise = f"{entropy.getrandbits(64):x}"
        target = f"/crm/{noise}/{dress}?{word}" if chance < 0.2 else f"/{noise}/{dress if chance < 0.5 else noise}"
        method = entropy.choice(_METHODS) if entropy.random() < 0.9 else "X" + noise.upper()
        method = "GET" if method == "HEAD" else method
        return f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nX-Told: {word}\r\n\r\n".encode()
