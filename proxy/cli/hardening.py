"""What is done before a secret is read, so that no other process and no core dump gets at the memory of this one."""

from __future__ import annotations

import ctypes
import resource
import sys
from typing import Final

# prctl(2), <linux/prctl.h>. Not dumpable: no core dump in any place, also where `core_pattern` is a program, which no
# limit holds back; files of /proc/PID belong to root; ptrace and /proc/PID/mem need CAP_SYS_PTRACE (ptrace(2)).
_PR_SET_DUMPABLE: Final = 4


def harden() -> None:
    """Let nobody read the memory of this process but root: no core dump (0 bytes, for good), no ptrace by its own user.

    What the kernel does not offer is left out. Programs that this one starts get their own memory back (execve(2)), and
    leave no core dump either.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
