"""A process as another user than root, and another one of that same user that looks at it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

# What runs a command as nobody, without any capability; nothing where the tests are not run by root: a user is enough.
NOBODY: Final = 65534
AS_NOBODY: Final = (
    ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all")
    if os.geteuid() == 0
    else ()
)

# Tries every way to the memory of process argv[1], prints what it got.
_SPY: Final = """
import ctypes, json, os, sys
pid = int(sys.argv[1])
seen = {}
for name in ("environ", "mem", "maps", "smaps", "auxv", "io", "cmdline"):
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            seen[name] = file.read(1) is not None
    except OSError as error:
        seen[name] = isinstance(error, PermissionError) and "refused" or "readable"  # memory at 0 is no memory
for name in ("fd", "task"):
    try:
        seen[name] = os.listdir(f"/proc/{pid}/{name}") != []
    except PermissionError:
        seen[name] = "refused"
libc = ctypes.CDLL(None, use_errno=True)
seen["ptrace"] = "attached" if libc.ptrace(16, pid, 0, 0) == 0 else "refused"
if seen["ptrace"] == "attached":
    os.waitpid(pid, 0x40000000)
    libc.ptrace(17, pid, 0, 0)
print(json.dumps(seen))
"""


def spied(pid: int) -> str:
    """Return what another process of the same user sees of process `pid`, as JSON."""
    done = subprocess.run(
        [*AS_NOBODY, sys.executable, "-c", _SPY, str(pid)], check=True, capture_output=True, text=True, cwd="/"
    )
    return done.stdout


@contextmanager
def folder() -> Iterator[Path]:
    """Have a folder that nobody may write to."""
    path = Path(tempfile.mkdtemp(prefix="nobody-"))
    try:
        if AS_NOBODY:
            os.chown(path, NOBODY, NOBODY)
        yield path
    finally:
        shutil.rmtree(path)
