"""`iclient-proxy worker`: one of the processes of `workers: N`; started by the main process, never by hand."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from proxy.cli.run import import_structlog_alone
from proxy.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    """Serve until the main process says so, or ends; returns the exit status. Raises `MachineError` without one."""
    # Whoever ends the whole process group or cgroup means the main process: that tells what comes of it.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if len(argv) != 1 or not argv[0].isdecimal():
        raise MachineError("worker", "workers are started by `iclient-proxy run` with workers: N in the definitions")
    import_structlog_alone()
    from proxy.runtime.workers.worker import work

    return work(int(argv[0]))
