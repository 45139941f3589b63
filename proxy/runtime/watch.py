"""Looks whether the files that the definitions were read from have other content, and asks for a reload when they have.

A thread of its own looks once a second: a file system that hangs holds up nobody, and the loop is not woken while all
is as it was. Looking, unlike waiting for events of the kernel, needs no watch that dies with a folder, and sees what
happens on network file systems, too. The figures are in docs/dependencies.md.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Final

import structlog

from proxy.definitions.notation.sources import find
from proxy.runtime.mounts import mounted_alone

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from proxy.definitions.notation.footprint import Footprint, Seen, State

_EVERY: Final = 1.0  # seconds between looks
_SETTLE: Final = 0.25  # seconds between looks while something changes: a swap or a copy is many steps
_PATIENCE: Final = 20  # looks for which what keeps changing is waited for
# A write within one tick of the file system's clock (10 ms at most on Linux, 2 s on FAT) leaves no trace in the times.
_TRUSTED: Final = 3  # looks with the same times before a file is taken for the same unread
_NAMED: Final = 5  # files that a log line names
_MOUNTS: Final = Path("/proc/self/mountinfo")

Identity = tuple[int, ...]


@dataclass(slots=True)
class _Known:
    """What the file held when it had this identity, and how often it was found so."""

    identity: Identity
    state: State
    looks: int = 1


class Watch:
    """Compares files with what the last load read of them; `paths` are those that the loader is given.

    `take` and `look` may be called from different threads.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._footprint: Footprint | None = None
        self._known: dict[str, _Known] = {}
        self._pending: dict[str, object] = {}
        self._asked: tuple[Footprint, dict[str, object]] | None = None
        self._unsettled = 0
        self._warned: set[str] = set()

    @property
    def is_settling(self) -> bool:
        """Whether something has changed that was not asked for yet."""
        return bool(self._pending)

    def take(self, footprint: Footprint) -> None:
        """From now on, compare with what this load has read."""
        self._footprint = footprint

    def look(self) -> tuple[str, ...]:
        """Return the files with other content than was read, once that has settled, and once only; else nothing."""
        footprint = self._footprint
        if footprint is None:
            return ()
        differing = self._differing(footprint)
        if not differing or footprint is not self._footprint or self._asked == (footprint, differing):
            self._pending, self._unsettled = {}, 0
            return ()
        if differing != self._pending and self._unsettled < _PATIENCE:
            self._pending = differing
            self._unsettled += 1
            return ()
        self._asked = (footprint, differing)
        self._pending, self._unsettled = {}, 0
        return tuple(differing)

    def forget(self) -> None:
        """Find again what was found last, if it is still so."""
        self._asked = None

    def mounted_alone(self) -> list[str]:
        """Return the files that can't be replaced from outside, each once."""
        footprint = self._footprint
        if footprint is None:
            return []
        try:
            mountinfo = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:  # not Linux
            return []
        files = {os.path.realpath(path): path for path in footprint.files}
        found = [files[path] for path in mounted_alone(mountinfo, files) if files[path] not in self._warned]
        self._warned.update(found)
        return found

    def _differing(self, footprint: Footprint) -> dict[str, object]:
        listed = [str(source.path) for source in find(self._paths)[0]]
        differing: dict[str, object] = {name: "removed" for name in footprint.listed if name not in set(listed)}
        known_names = set(footprint.listed)
        for name in listed:
            if name not in known_names:
                differing[name] = _identity(Path(name))
        for name, seen in list(footprint.files.items()):
            state = self._state(name, seen)
            if state != seen.found:
                differing[name] = state
        for name in self._known.keys() - footprint.files.keys():
            del self._known[name]
        return differing

    def _state(self, name: str, seen: Seen) -> State:
        identity = _identity(seen.path)
        known = self._known.get(name)
        if known is not None and known.identity == identity:
            if known.looks >= _TRUSTED:
                return known.state
            looks = known.looks + 1
        else:
            looks = 1
        state = seen.look()
        if isinstance(state, str):  # why a file can't be read is not in its times alone
            self._known.pop(name, None)
        elif known is not None and known.state == state:
            self._known[name] = _Known(identity, state, looks)
        else:
            self._known[name] = _Known(identity, state)
        return state


def _identity(path: Path) -> Identity:
    """Return what differs when a file is replaced, written or given other rights; links are followed."""
    try:
        state = os.stat(path)  # noqa: PTH116 a thousand times a second: without making anything
    except OSError as error:
        return (error.errno or 0,)
    except ValueError:
        return ()
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


class Watcher:
    """The thread that looks, and the way from it to the loop: `ask` is called there when another load is due.

    While `busy`, a load is under way that may well read what has changed.
    """

    def __init__(self, watch: Watch, ask: Callable[[], object], busy: Callable[[], bool]) -> None:
        self._watch = watch
        self._ask = ask
        self._busy = busy
        self._end = Event()
        self._log = structlog.get_logger()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to look; `stop` ends it."""
        for path in self._watch.mounted_alone():
            self._log.warning("mounted_alone", file=path, remedy=_REMEDY)
        # A thread in a file system that hangs must not keep the process from ending.
        Thread(target=self._run, args=(loop,), name="watch", daemon=True).start()

    def stop(self) -> None:
        """Look no more. What was noticed before is forgotten."""
        self._end.set()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        failing = False
        while not self._end.wait(_SETTLE if self._watch.is_settling else _EVERY):
            try:
                names = self._watch.look()
            except Exception as error:  # noqa: BLE001 a mistake of ours must not end the watch
                if not failing:
                    self._tell(loop, self._failed, type(error).__name__)
                failing = True
                continue
            failing = False
            if names:
                self._tell(loop, self._noticed, names)

    def _tell(self, loop: asyncio.AbstractEventLoop, call: Callable[..., None], *args: object) -> None:
        with suppress(RuntimeError):  # the loop has been closed meanwhile
            loop.call_soon_threadsafe(call, *args)

    def _noticed(self, names: tuple[str, ...]) -> None:
        if self._end.is_set():
            return
        if self._busy():
            self._watch.forget()
            return
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        self._log.info("files_changed", files=", ".join(names[:_NAMED]) + more)
        self._ask()

    def _failed(self, error: str) -> None:
        self._log.error("watching_failed", error=error, remedy="`iclient-proxy reload` and SIGHUP work as before")


_REMEDY: Final = "it is mounted by itself (subPath), so a new version never gets here; mount its folder"
