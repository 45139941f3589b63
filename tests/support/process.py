"""The product as operators run it: a process of its own, known by its log lines, its listeners and its exit status."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.request import urlopen

from tests.support import seen
from tests.support.client import Client, Response
from tests.support.deadline import awaiting, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

ROOT: Final = Path(__file__).parents[2]
# What no process may ever write: a traceback, a task nobody looked at, a resource nobody closed, a secret.
NEVER_WRITTEN: Final = (
    "Traceback",
    "never retrieved",
    "never awaited",
    "ResourceWarning",
    "was destroyed but",
    '"logger": "asyncio"',
    "canary-",
)

_GOES_ON: Final = {signal.SIGHUP, signal.SIGSTOP, signal.SIGCONT, signal.SIGPIPE, signal.SIGCHLD, signal.SIGWINCH}

Address = tuple[str, int]


class Process:
    """One run of the product. `lines` is everything it has written so far, on either of its two outputs.

    Lines that begin with `counted` are not among them: of those `count` is the number.
    """

    def __init__(self, running: asyncio.subprocess.Process, counted: bytes = b"") -> None:
        self._running = running
        self._counted = counted
        self.count = 0
        self.lines: list[str] = []
        self.events: list[dict[str, Any]] = []
        self.listening: dict[str, list[Address]] = {}
        self.sockets: list[str] = []
        self.told_to_end = False
        self.stood_still = False  # since it was stopped
        self._changed = asyncio.Condition()
        self._readers = [
            asyncio.create_task(self._read(output), name=f"output of the process {running.pid}")
            for output in (running.stdout, running.stderr)
            if output is not None
        ]

    @classmethod
    async def start(
        cls,
        definitions: Mapping[str, Any],
        folder: Path,
        environment: Mapping[str, str] | None = None,
        names: Mapping[str, str] | None = None,
        within: Sequence[str] = (),
        *,
        whole_folder: bool = False,
        program: Sequence[str] = ("proxy",),
        counted: bytes = b"",
    ) -> Process:
        """Write the definitions into `folder` and run the product on them; see `until_listening`.

        With `names` it looks up these (see `tests.support.names`), without what the machine knows. `within` is a
        command that runs another one under restraint: `prlimit --nofile=64`. With `whole_folder` the folder is named,
        not the file. `program` is a module that is the product, and its first words.
        """
        file = folder / "definitions.yaml"
        file.write_text(json.dumps(definitions, indent=1))  # JSON is YAML, and has no aliases
        if names is not None:
            program = ("tests.support.names", json.dumps(names))
        running = await asyncio.create_subprocess_exec(
            *within, sys.executable, "-m", *program, "run", "--config", str(folder if whole_folder else file),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            cwd=folder, limit=1 << 20,
            env={
                "PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT),
                "ICLIENT_PROXY_PURE": os.environ.get("ICLIENT_PROXY_PURE", ""),
                "PYTHONWARNINGS": "default::ResourceWarning", **(environment or {}),
            },
        )  # fmt: skip
        return cls(running, counted)

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def reverse(self) -> Address:
        """The address of the first reverse listener."""
        return self.listening["reverse"][0]

    @property
    def admin(self) -> Address:
        """The address of the admin listener."""
        return self.listening["admin"][0]

    @property
    def is_serving(self) -> bool:
        """Whether it runs and its admin listener is open."""
        return self._running.returncode is None and "admin" in self.listening

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    async def until_listening(self, *listeners: str) -> None:
        """Wait until each of these listeners has said where it listens."""
        wanted = set(listeners or ("reverse", "admin"))
        await self._until(f"listeners {sorted(wanted)}", lambda: wanted <= self.listening.keys())

    async def _until(self, what: str, holds: Any) -> None:
        async with awaiting(what, 30), self._changed:
            await self._changed.wait_for(lambda: holds() or all(reader.done() for reader in self._readers))
        assert holds(), f"the process ended before {what}:\n{self.output}"

    async def _read(self, output: asyncio.StreamReader) -> None:
        while line := await output.readline():
            if self._counted and line.startswith(self._counted):
                self.count += 1
                continue
            text = line.decode("utf-8", "backslashreplace").rstrip("\n")
            self.lines.append(text)
            if text.startswith("{"):
                self._note(json.loads(text))
            async with self._changed:
                self._changed.notify_all()
        async with self._changed:
            self._changed.notify_all()

    def _note(self, said: dict[str, Any]) -> None:
        self.events.append(said)
        if said["event"] == "listening":
            path = re.fullmatch(r"unix:(.*)", said["address"])
            host = re.fullmatch(r"\[?(.*?)\]?:(\d+)", said["address"])
            if path:
                self.sockets.append(path[1])
            elif host:
                self.listening.setdefault(said["listener"], []).append((host[1], int(host[2])))

    def logged(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """Return the log lines of that event with those fields, in order."""
        wanted = {"event": event, **fields}
        return [said for said in self.events if wanted.items() <= said.items()]

    async def until_logged(self, event: str, times: int = 1, **fields: Any) -> dict[str, Any]:
        """Wait for so many log lines of that event with those fields; return the last of them."""
        await self._until(f"{times} lines {event} {fields}", lambda: len(self.logged(event, **fields)) >= times)
        return self.logged(event, **fields)[times - 1]

    async def admin_get(self, path: str) -> Response:
        """Ask the admin listener on a stream of its own."""
        return await self._admin(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")

    async def admin_post(self, path: str) -> Response:
        """Post nothing to the admin listener, as `curl -X POST` does."""
        self.told_to_end |= path == "/quitquitquit"
        return await self._admin(
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        )

    async def _admin(self, request: str) -> Response:
        client = await Client.connect(self.admin)
        try:
            return await client.ask(request.encode())
        finally:
            await client.close()

    async def metric(self, series: str) -> float:
        """Return the value of one series (`name` or `name{label="value"}`) without our prefix; 0 if it is not there."""
        with seen.unseen():
            text = (await self.admin_get("/metrics")).body.decode()
        found = re.search(rf"^iclient_proxy_{re.escape(series)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def open_files(self) -> int:
        """Return how many file descriptors the process holds; who is not root has to ask it."""
        try:
            return len(os.listdir(f"/proc/{self.pid}/fd"))  # noqa: PTH208
        except PermissionError:
            with urlopen("http://{}:{}/metrics".format(*self.admin)) as answer:
                found = re.search(rb"^process_open_fds (\S+)$", answer.read(), re.MULTILINE)
                return int(float(found[1])) if found is not None else 0

    def status(self) -> str:
        """Return what the kernel says of the process: its capabilities, the signals it catches (proc_pid_status(5))."""
        return Path(f"/proc/{self.pid}/status").read_text()

    def resident_bytes(self) -> int:
        """Return the resident memory of the process."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def cpu_seconds(self) -> float:
        """Return the CPU time that all threads of the process have taken."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def voluntary_switches(self) -> int:
        """Return how often a thread of it has gone to sleep, which is about how often one was woken."""
        found = 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            found += int(
                re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", (task / "status").read_text(), re.MULTILINE)[0]
            )
        return found

    def threads(self) -> int:
        """Return how many threads the process has."""
        return len(os.listdir(f"/proc/{self.pid}/task"))  # noqa: PTH208

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal, if the process still runs."""
        if self._running.returncode is None:
            self.told_to_end |= number not in _GOES_ON
            self._running.send_signal(number)

    @asynccontextmanager
    async def frozen(self) -> AsyncIterator[None]:
        """Stop the process for the block: whatever happens meanwhile it finds all at once, in the order it happened."""
        self.stood_still = True
        self.signal(signal.SIGSTOP)
        await eventually("a process that stands still", lambda: self._state() == "T")
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    def _state(self) -> str:
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]

    async def exit_status(self, seconds: float = 20) -> int:
        """Wait for the end of the process; return its exit status once all its output is read."""
        async with awaiting("the end of the process", seconds):
            await asyncio.gather(*self._readers)
            status = await self._running.wait()
        seen.ended(status)
        return status

    async def stop(self) -> int:
        """Send SIGTERM, wait for the end and return the exit status; whatever happens, no process is left."""
        try:
            self.signal()
            with seen.unseen():
                return await self.exit_status()
        finally:
            if self._running.returncode is None:
                self._running.kill()
                await self._running.wait()
            await asyncio.gather(*self._readers)
            self._running._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001 - asyncio leaves it to the collector

    def assert_clean(self, since: int = 0) -> None:
        """Assert that nothing was written that may never be, from that line on."""
        output = "\n".join(self.lines[since:])
        for words in NEVER_WRITTEN:
            assert words not in output, f"the process wrote {words!r}:\n{output[-4000:]}"
