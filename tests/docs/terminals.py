"""Terminals as the tutorial has them: a shell each, typed into, that keeps its variables and its folder."""

from __future__ import annotations

import asyncio
import os
import re
from typing import TYPE_CHECKING, Final

from tests.support.deadline import awaiting

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_END: Final = "the shell says that it is done:"


class Terminal:
    """One shell; `text` is all that it has shown."""

    def __init__(self, name: str, shell: asyncio.subprocess.Process) -> None:
        self.text = ""
        self._name = name
        self._shell = shell

    @classmethod
    async def open(cls, name: str, folder: Path, environment: Mapping[str, str]) -> Terminal:
        """Open one in `folder`, with this environment and no other."""
        shell = await asyncio.create_subprocess_exec(
            *("bash", "--norc"), cwd=folder, env=dict(environment), start_new_session=True, limit=1 << 20,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        return cls(name, shell)

    async def type(self, script: str) -> tuple[int, str]:
        """Type the lines, wait for the end of the last one, return its status and what all of them showed."""
        return await self.shown(script + f"\nprintf '\\n{_END}%d\\n' $?\n", rf"\n{_END}(\d+)\n")

    async def shown(self, script: str, until: str) -> tuple[int, str]:
        """Type the lines and wait until something is shown; its first group is a status, or 0 is returned."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        before = len(self.text)
        self._shell.stdin.write(script.encode())
        async with awaiting(f"{self._name}: {until}", 60):
            while not (found := re.search(until, self.text[before:])):
                piece = await self._shell.stdout.read(1 << 16)
                assert piece, self.text[before:]
                self.text += piece.decode()
        status = int(found[1]) if found.groups() else 0
        return status, self.text[before : before + found.start()]

    async def close(self) -> str:
        """Press Ctrl-C, end the shell, and return what was shown meanwhile."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        os.killpg(self._shell.pid, 2)
        self._shell.stdin.close()
        async with awaiting(f"the end of {self._name}", 30):
            rest = await self._shell.stdout.read(-1)
            await self._shell.wait()
        return rest.decode()
