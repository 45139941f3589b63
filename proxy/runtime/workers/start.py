"""What a main process with workers is made of, beside what every process is."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, cast

from proxy.runtime.assemble import Workshop
from proxy.runtime.workers.board import length
from proxy.runtime.workers.heartbeat import Rhythm
from proxy.runtime.workers.held import HeldListener
from proxy.runtime.workers.publisher import Publisher
from proxy.runtime.workers.supervisor import Supervisor
from proxy.tokens.watched import WatchedKeeper

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from proxy.definitions.models import Definitions
    from proxy.runtime.cgroup import Cgroup
    from proxy.runtime.parts import Assembly


class MainWorkshop(Workshop):
    """Makes parts whose listeners accept nothing here and whose keepers are watched."""

    keeper_class = WatchedKeeper
    listener_class = HeldListener


class Shared:
    """What the start knows of the workers; `lock` is the file whose lock lets a process write to the log."""

    workshop = MainWorkshop
    rhythm = Rhythm()

    def __init__(
        self, definitions: Definitions, program: Sequence[str], environ: Mapping[str, str], cgroups: Path
    ) -> None:
        self._size = definitions.workers
        self._program = tuple(program)
        self._environ = environ
        self._cgroups = cgroups
        self.lock = _nameless_file("log")
        self._board = _nameless_file("streams", length(definitions.workers))

    def supervisor(self, workshop: Workshop, assembly: Assembly, cgroup: Cgroup | None) -> Supervisor:
        """Return the supervisor, which has not begun."""
        return Supervisor(
            self._size,
            self._program,
            cast("MainWorkshop", workshop),
            assembly,
            Publisher(),
            environ=self._environ,
            lock=self.lock,
            board=self._board,
            cgroups=self._cgroups,
            cgroup=cgroup,
            rhythm=self.rhythm,
        )


def _nameless_file(name: str, length: int = 0) -> int:
    if hasattr(os, "memfd_create"):
        file = os.memfd_create(name)
    else:
        with tempfile.TemporaryFile() as opened:  # not Linux
            file = os.dup(opened.fileno())
    os.ftruncate(file, length)
    return file
