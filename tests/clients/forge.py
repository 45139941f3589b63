"""A forge: git's own server behind the scripted upstream, which wants a token for each request."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from tests.clients.api import git
from tests.conftest import program
from tests.support.scripts import response, unauthorized

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.upstream import Request


class Forge:
    """Serves one repository by `git http-backend`; a body of more than `limit` bytes is refused to the first token."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self.bare = folder / "project.git"
        git(folder, "init", "--quiet", "--bare", "--initial-branch=main", str(self.bare))
        git(folder, "-C", str(self.bare), "config", "http.receivepack", "true")

    async def __call__(self, request: Request) -> None:
        body = await request.read_body()
        if not request.token or (len(body) > self._limit and request.token.endswith("-1")):
            await request.send(unauthorized())
            return
        await request.send(await self._answer(request, body))

    async def _answer(self, request: Request, body: bytes) -> bytes:
        path, _, query = request.target.decode().partition("?")

        def field(name: bytes) -> str:
            return b", ".join(request.values(name)).decode()

        running = await asyncio.create_subprocess_exec(
            program("git") or "git", "http-backend",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            env={
                "PATH": os.environ["PATH"], "HOME": str(self._folder), "GIT_PROJECT_ROOT": str(self._folder),
                "GIT_HTTP_EXPORT_ALL": "1", "REQUEST_METHOD": request.method.decode(), "PATH_INFO": path,
                "QUERY_STRING": query, "CONTENT_TYPE": field(b"content-type"), "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": field(b"content-encoding"), "GIT_PROTOCOL": field(b"git-protocol"),
                "REMOTE_USER": "application",
            },
        )  # fmt: skip
        said, _ = await running.communicate(body)
        head, _, content = said.partition(b"\r\n\r\n")
        fields = head.split(b"\r\n")
        status = next((each[8:] for each in fields if each.lower().startswith(b"status: ")), b"200 OK")
        return response(content, *(each for each in fields if not each.lower().startswith(b"status:")), status=status)
