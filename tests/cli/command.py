"""The command line as a shell sees it: arguments and an environment in, exit status and two outputs back."""

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.deadline import awaiting

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str


async def python(*arguments, environment=None, cwd=None, stdin=None):
    """Run our interpreter with these arguments and wait for its end; `stdin` is what it may read."""
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=cwd,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "120",
            "PYTHONWARNINGS": "error",
            **(environment or {}),
        },
    )
    async with awaiting(f"the end of {arguments}", 30):
        out, err = await running.communicate(None if stdin is None else stdin.encode())
    assert running.returncode is not None
    return Done(running.returncode, out.decode(), err.decode())


async def iclient_proxy(*arguments, environment=None, cwd=None, stdin=None):
    """Run one verb."""
    done = await python("-m", "proxy", *arguments, environment=environment, cwd=cwd, stdin=stdin)
    assert "Traceback" not in done.err, done.err
    assert "canary-secret" not in done.out + done.err
    return done
