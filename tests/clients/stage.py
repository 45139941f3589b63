"""A stage with a forward listener, where each case has a host of its own below `example.com`."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import socket
import ssl
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import trustme

from tests.conftest import program
from tests.support.deadline import awaiting
from tests.support.process import ROOT
from tests.support.scripts import response, unauthorized
from tests.support.stage import SECRET, Case, Stage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.upstream import Request

PROGRAMS: Final = Path(__file__).with_name("programs")
# Whatever an application asks for, it is served on this machine.
NAMES: Final = {"*.example.com": "127.0.0.1", "*.acme.com": "127.0.0.1"}
SIZE: Final = 1 << 20


@dataclass(frozen=True)
class Upload:
    """A file that is posted, and the digest of what is in it."""

    path: str
    digest: str


@dataclass(frozen=True)
class Said:
    """How a shell ended, and what it wrote."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


async def shell(script: str, folder: Path, **environment: str) -> Said:
    """Run a POSIX shell in a world that holds `environment`, a PATH and a HOME, and no setting of this machine."""
    places = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    running = await asyncio.create_subprocess_exec(
        "sh", "-euc", script,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=folder,
        env={"PATH": places, "HOME": str(folder), "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8", **environment},
    )  # fmt: skip
    try:
        async with awaiting(f"the end of {script!r}", 40):
            out, err = await running.communicate()
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()
    assert running.returncode is not None
    return Said(running.returncode, out.decode("utf-8", "backslashreplace"), err.decode("utf-8", "backslashreplace"))


def assert_replaced(case: Case, said: Said, upload: Upload) -> None:
    """A token was put on, and another one when it was refused, with the same body; the application noticed nothing."""
    first, refused, replayed = case.upstream.requests
    assert (said.status, said.lines) == (0, [f"200 {sha256(b'')}", f"200 {upload.digest}"]), said
    assert [first.token, refused.token, replayed.token] == [case.token(1), case.token(1), case.token(2)]
    assert [sha256(refused.body), sha256(replayed.body)] == [upload.digest, upload.digest]
    assert [request.target for request in case.upstream.requests] == [b"/first", b"/second", b"/second"]
    assert case.token_requests == 2


class ClientStage(Stage):
    """One process with a forward listener; `urls` has the base URL of each connection, without its port.

    `env` and `run` are what an operator of an application does: ask the product for the variables, then start it.
    """

    def __init__(
        self, urls: Mapping[str, str], folder: Path, forward: Mapping[str, Any] | None = None, **settings: Any
    ) -> None:
        self.folder = folder
        self.urls = urls
        self.authority = trustme.CA()
        self.authority.cert_pem.write_to_path(str(folder / "upstream-ca.pem"))
        self.port = free_port()
        self._printed: dict[tuple[str, ...], str] = {}
        listeners = {
            "forward": {"bind": f"127.0.0.1:{self.port}", **(forward or {})},
            "reverse": {"bind": "127.0.0.1:0"},
            "admin": {"bind": "127.0.0.1:0"},
        }
        super().__init__(
            {name: {} for name in urls}, {"listeners": listeners, "state_dir": str(folder), **settings}, NAMES
        )

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """What upstreams on https answer with."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.authority.issue_cert("*.example.com", "*.acme.com").configure_cert(context)
        return context

    def _connection(self, name: str, extra: Mapping[str, Any]) -> dict[str, Any]:
        own: dict[str, Any] = {"base_url": f"{self.urls[name]}:PORT", "replay": {"body_limit": "2MiB"}}
        if self.secured(name):
            own["tls"] = {"ca": str(self.folder / "upstream-ca.pem")}
        else:
            own["allow_insecure"] = True
        return super()._connection(name, {**own, **extra})

    def write(self) -> Path:
        """Write the definitions for the commands that are run before the process, and return their file."""
        file = self.folder / "definitions.yaml"
        file.write_text(json.dumps(self.definitions(), indent=1))
        return file

    async def opened(self, name: str) -> Case:
        """Open the upstream of a connection."""
        return await self.case(name, self.tls if self.secured(name) else None)

    def secured(self, name: str) -> bool:
        """Whether the upstream of a connection is on https."""
        return self.urls[name].startswith("https:")

    async def product(self, command: str) -> Said:
        """Run one command of the product on the definitions of this stage."""
        said = await shell(
            f"iclient-proxy {command}", self.folder, CLIENT_SECRET=SECRET,
            ICLIENT_PROXY_CONFIG=str(self.folder / "definitions.yaml"),
        )  # fmt: skip
        assert said.status == 0, said
        return said

    async def env(self, runtime: str, *options: str) -> str:
        """Return what `env` prints for a runtime, asked once; what it says is to be done once is done."""
        key = (runtime, *options)
        if key not in self._printed:
            printed = (await self.product(f"env --runtime {' '.join(key)}")).out
            for command in re.findall(r"^# once: iclient-proxy (.*)$", printed, re.MULTILINE):
                await self.product(command)
            self._printed[key] = printed
        return self._printed[key]

    async def run(self, script: str, runtime: str, *options: str, folder: Path, **environment: str) -> Said:
        """Run a script after its shell has evaluated what `env` prints for that runtime."""
        printed = await self.env(runtime, *options)
        return await shell(f'eval "$PRINTED"\n{script}', folder, PRINTED=printed, **environment)

    async def applied(self, script: str, runtime: str, url: str, upload: Upload, classes: Path, folder: Path) -> Said:
        """Run the script of a client, which gets from `url`, then posts the upload there."""
        return await self.run(script, runtime, folder=folder, URL=url, FILE=upload.path, CLASSES=str(classes))


def free_port() -> int:
    """Return a port that is free now; `env` prints the one that the definitions name, so it has to be named."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        found: int = listening.getsockname()[1]
    return found


def sha256(content: bytes) -> str:
    """Return the digest in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


async def refuses_the_second_request(request: Request) -> None:
    """Say what came; the first token is revoked once it has been used."""
    body = await request.read_body()
    if request.target.endswith(b"/second") and request.token.endswith("-1"):
        await request.send(unauthorized())
    else:
        await request.send(response(sha256(body).encode(), b"Content-Type: text/plain"))


def java(folder: Path) -> str:
    """Return the command that compiles the Java application into a folder."""
    return f"{program('javac')} -d {folder} {PROGRAMS / 'Client.java'}"
