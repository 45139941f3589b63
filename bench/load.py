"""The load: wrk for the closed loop, `bench.pace` for the open one, and single requests to see that all do the same."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.processes import module

if TYPE_CHECKING:
    from bench.rows import Closed, Open

_SCRIPT: Final = Path(__file__).with_name("closed.lua")
_ROOT: Final = Path(__file__).parents[1]
# The ten ordinary fields of `closed.lua`, for everything that is not wrk.
FIELDS: Final = (
    "User-Agent: bench/1.0\r\nAccept: application/json\r\nAccept-Language: en-GB,en;q=0.8\r\n"
    "Accept-Encoding: gzip, deflate\r\nCache-Control: no-cache\r\n"
    "Cookie: session=9f86d081884c7d659a2feaa0c55ad015; theme=dark\r\nX-Tenant: acme-production\r\n"
    "X-Api-Version: 2024-05-01\r\nX-Client-Version: 7.31.2\r\nX-Correlation-Group: nightly-import\r\n"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a peer takes requests: a port of 127.0.0.1 and what stands before `/small`; `routes` of them in turn.

    `host` is what the Host field says instead of that port; `secured` streams speak TLS. `target` is what a tunnel is
    asked for first.
    """

    port: int
    prefix: str = "/bench"
    routes: int = 0
    credential: str = ""
    host: str = ""
    secured: bool = False
    target: str = ""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the load saw. `sent` is what it handed to sockets, `completed` what was answered in full, with 2xx or not.

    Latencies are in microseconds; `body_bytes` counts heads too, since wrk does; `failed` are answers other than
    2xx and 3xx, `broken` are streams that failed or stood still.
    """

    sent: int
    completed: int
    seconds: float
    body_bytes: int
    p50: float
    p99: float
    failed: int
    broken: int


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, whole."""

    status: int
    body: bytes


def closed(entry: Entry, row: Closed, seconds: float, core: int) -> Loaded:
    """Keep `row.connections` streams busy for so long; each asks again as soon as it is answered."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise FileNotFoundError("wrk makes the load: without it nothing can be measured (apt-get install wrk)")
    said = _run(
        ["taskset", "-c", str(core), wrk, "--threads", "1", "--connections", str(row.connections),
         "--duration", f"{max(1, round(seconds))}s", "--timeout", "60s", "--script", str(_SCRIPT),
         f"https://localhost:{entry.port}" if entry.secured else f"http://127.0.0.1:{entry.port}",
         "--", entry.host or f"127.0.0.1:{entry.port}", entry.prefix, f"/{row.size}",
         "distinct" if row.distinct else "repeated", str(entry.routes)]
    )  # fmt: skip
    return _loaded(said)


def pulled(entry: Entry, row: Closed, seconds: float, core: int) -> Loaded:
    """Keep `row.connections` tunnels busy for so long, or streams where there is nothing to be asked for first."""
    said = _run(
        ["taskset", "-c", str(core), *module("bench.pull"), "--port", str(entry.port), "--target", entry.target,
         "--path", f"{entry.prefix}/{row.size}", "--seconds", str(seconds), "--connections", str(row.connections),
         "--credential", entry.credential]
    )  # fmt: skip
    return _loaded(said)


def _loaded(said: dict[str, int]) -> Loaded:
    return Loaded(
        said["sent"],
        said["completed"],
        said["seconds"],
        said["bytes"],
        said["p50"],
        said["p99"],
        said["status"],
        said["socket"],
    )


def opened(entry: Entry, row: Open, seconds: float, core: int) -> Loaded:
    """Send `row.rate` requests a second, whether or not earlier ones are answered."""
    said = _run(
        ["taskset", "-c", str(core), *module("bench.pace"), "--port", str(entry.port),
         "--path", f"{entry.prefix}/{row.size}", "--rate", str(row.rate), "--seconds", str(seconds),
         "--connections", str(row.connections), "--credential", entry.credential]
    )  # fmt: skip
    return _loaded(said)


def ask(port: int, path: str, *, patience: float = 30.0) -> Reply:
    """Ask once on a stream of its own; raises OSError when there is no whole answer."""
    return ask_at(Entry(port, ""), path, patience=patience)


def ask_at(entry: Entry, path: str, *, patience: float = 30.0) -> Reply:
    """Ask at an entry for what stands behind its prefix, once, on a stream of its own; raises OSError as `ask` does."""
    with socket.create_connection(("127.0.0.1", entry.port), patience) as plain, _secured(plain, entry) as stream:
        stream.sendall(head(entry.port, entry.prefix + path, 1, entry.credential, entry.host))
        return read_answer(stream)


def _secured(stream: socket.socket, entry: Entry) -> socket.socket:
    """Speak TLS where the entry does; who answers is not this one's to verify."""
    if not entry.secured:
        return stream
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(stream, server_hostname="localhost")


def head(port: int, path: str, number: int, credential: str = "", host: str = "") -> bytes:
    """Return a request like those of the load; `number` makes it distinct."""
    one = f"{number:016x}"
    authorization = f"Authorization: {credential}\r\n" if credential else ""
    named = host or f"127.0.0.1:{port}"
    return (
        f"GET {path}?item={number}&cursor={one} HTTP/1.1\r\nHost: {named}\r\nX-Request-Id: {one}\r\n"
        f"traceparent: 00-{one}{one}-{one}-01\r\n{authorization}{FIELDS}\r\n"
    ).encode()


def read_answer(stream: socket.socket) -> Reply:
    """Read one answer with a Content-Length off a blocking stream."""
    data = b""
    while (end := data.find(b"\r\n\r\n")) < 0:
        data += _more(stream)
    fields = data[:end].lower()
    place = fields.find(b"\r\ncontent-length:")
    if place < 0:
        raise OSError(f"an answer without a length: {data[:200]!r}")
    length = int(fields[place + 17 :].split(b"\r\n", 1)[0])
    body = data[end + 4 :]
    while len(body) < length:
        body += _more(stream)
    return Reply(int(data[9:12]), body)


def _more(stream: socket.socket) -> bytes:
    piece = stream.recv(65536)
    if not piece:
        raise OSError("the stream ended within an answer")
    return piece


def _run(command: list[str]) -> dict[str, int]:
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=_ROOT)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise RuntimeError(f"{command[3]} ended with {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}")
    said: dict[str, int] = json.loads(lines[-1])
    return said
