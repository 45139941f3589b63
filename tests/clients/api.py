"""The API that the guides call: a list of orders, a metric, a query, and a repository of git as files."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Final

from tests.conftest import program
from tests.support.scripts import response, unauthorized

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.upstream import Request

ORDERS: Final = b'{"orders": [{"id": 1}]}'
QUERIED: Final = b'{"status": "success", "data": {"resultType": "scalar", "result": [1767323045, "42"]}}'
METRICS: Final = b"# TYPE orders_open gauge\norders_open 1\n"


class Api:
    """Answers requests that bring a token, and counts them; `tokens` has those that came, in order.

    A token is `refused` from the moment it is named here.
    """

    def __init__(self, folder: Path) -> None:
        self._files = repository(folder) if program("git") else {}
        self.refused: set[str] = set()
        self.tokens: list[str] = []
        self.answered = 0

    async def __call__(self, request: Request) -> None:
        await request.read_body()
        self.tokens.append(request.token)
        path = request.target.partition(b"?")[0].decode()
        if not request.token or request.token in self.refused:
            await request.send(unauthorized())
            return
        self.answered += 1
        if path == "/v1/orders":
            await request.send(response(ORDERS, b"Content-Type: application/json"))
        elif path == "/v1/metrics":
            await request.send(response(METRICS, b"Content-Type: text/plain; version=0.0.4"))
        elif path == "/api/v1/query":
            await request.send(response(QUERIED, b"Content-Type: application/json"))
        elif (file := self._files.get(path.removeprefix("/team/project.git/"))) is not None:
            await request.send(response(file, b"Content-Type: application/octet-stream"))
        else:
            await request.send(response(b"", status=b"404 Not Found"))


def git(home: Path, *words: str) -> None:
    """Run git without any setting of this machine."""
    whose = [f"GIT_{who}_{what}" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")]
    subprocess.run(
        [program("git") or "git", *words], check=True, capture_output=True,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1", **dict.fromkeys(whose, "a@b")},
    )  # fmt: skip


def repository(folder: Path) -> dict[str, bytes]:
    """Make a repository with one commit; return its files as a plain server has them (the "dumb" protocol of git)."""
    work, bare = folder / "work", folder / "project.git"
    git(folder, "init", "--quiet", "--initial-branch=main", str(work))
    (work / "README").write_text("cloned through the proxy\n")
    git(folder, "-C", str(work), "add", "README")
    git(folder, "-C", str(work), "commit", "--quiet", "--message=first")
    git(folder, "clone", "--quiet", "--bare", str(work), str(bare))
    git(folder, "-C", str(bare), "update-server-info")
    return {path.relative_to(bare).as_posix(): path.read_bytes() for path in bare.rglob("*") if path.is_file()}
