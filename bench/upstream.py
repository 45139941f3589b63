"""What stands behind every peer: nginx that checks, answers and counts, and the token endpoint of the product."""

from __future__ import annotations

import json
import re
import shutil
import socket
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trustme

from bench.load import ask
from bench.processes import Running

if TYPE_CHECKING:
    from bench.machine import Cores

TOKEN: Final = "bench-2f1c7be84d6a4f0c9d55a1e0b7c3"
KIB: Final = 1024
SIZES: Final = {
    "small": 0,
    "10k": 10 * KIB,
    "1m": KIB * KIB,
    "stall": 16 * KIB * KIB,
}  # the small one is in the configuration
_SETTLES: Final = 10.0  # seconds for requests that the load gave up to end
_SAME: Final = 5  # looks in a row with the same count: a peer may still hold requests that it has not read
_LOOK: Final = 0.02


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the upstream and the token endpoint listen, and the authority that signed the upstream's certificate."""

    plain: int
    tls: int
    authority: int
    ca: Path


class Upstream:
    """A running upstream. Close it."""

    def __init__(self, folder: Path, used: Cores) -> None:
        program = shutil.which("nginx")
        if program is None:
            raise FileNotFoundError("nginx is the upstream: without it nothing can be measured (apt-get install nginx)")
        answers = folder / "answers"
        answers.mkdir(parents=True)
        folder.chmod(0o755)
        for name, size in SIZES.items():
            if size:
                (answers / name).write_bytes((b"0123456789abcdef" * 64)[:KIB] * (size // KIB))
        ca, cert, key = _certificates(folder)
        plain, tls, self._count = free_ports(3)
        file = folder / "upstream.conf"
        values = {"PORT": plain, "TLS_PORT": tls, "COUNT_PORT": self._count, "CERT": cert, "KEY": key, "FOLDER": folder}
        fill(Path(__file__).with_name("upstream.conf"), file, {**values, "TOKEN": TOKEN})
        self._parts = ExitStack()
        self._nginx = Running(
            [program, "-p", str(folder), "-c", str(file), "-e", "stderr"], used.load, folder / "upstream.log"
        )
        self._parts.callback(self._nginx.stop)
        authority = _TokenServer(("127.0.0.1", 0), _TokenEndpoint)
        threading.Thread(target=authority.serve_forever, name="token endpoint", daemon=True).start()
        self._parts.callback(authority.server_close)
        self._parts.callback(authority.shutdown)
        self.ports = Ports(plain, tls, authority.server_address[1], ca)
        self._wait_until_up()

    def close(self) -> None:
        """End both."""
        self._parts.close()

    def counted(self) -> int:
        """Return how many requests it has been asked; waits until those under way have ended."""
        deadline = time.monotonic() + _SETTLES
        before, same = -1, 0
        while True:
            status = self._status()
            found = re.search(r"\s(\d+) (\d+) (\d+) \nReading: (\d+) Writing: (\d+)", status)
            if found is None:
                raise ValueError(f"not a page of stub_status: {status!r}")
            self._looks += 1
            seen = int(found[3]) - self._looks  # looking is a request, too
            same = same + 1 if seen == before and found[5] == "1" else 0
            if same == _SAME or time.monotonic() > deadline:
                return seen
            before = seen
            time.sleep(_LOOK)

    def _status(self) -> str:
        return ask(self._count, "/").body.decode()

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + _SETTLES
        self._looks = 0
        while True:
            try:
                self._status()
            except OSError:
                if not self._nginx.alive or time.monotonic() > deadline:
                    raise RuntimeError(f"the upstream does not start: {self._nginx.said()}") from None
                time.sleep(0.01)
            else:
                self._looks = 1
                return


class _TokenServer(ThreadingHTTPServer):
    """Takes a thousand connections' first token requests at once."""

    request_queue_size = 2048


class _TokenEndpoint(BaseHTTPRequestHandler):
    """Issues the one token that the upstream takes, for so long that no renewal disturbs a measurement."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        body = json.dumps({"access_token": TOKEN, "token_type": "Bearer", "expires_in": 86400}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Say nothing."""


def free_ports(count: int) -> list[int]:
    """Return ports that are free now. They have to be given by number: not every peer takes over a socket."""
    with ExitStack() as opened:
        sockets = [opened.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [sock.getsockname()[1] for sock in sockets]


def fill(template: Path, target: Path, values: dict[str, object]) -> None:
    """Write `template` to `target` with every @NAME@ replaced; raises KeyError for one that has no value."""
    text = template.read_text(encoding="utf-8")
    target.write_text(re.sub(r"@([A-Z_]+)@", lambda found: str(values[found[1]]), text), encoding="utf-8")


def _certificates(folder: Path) -> tuple[Path, Path, Path]:
    authority = trustme.CA()
    leaf = authority.issue_cert("localhost", "127.0.0.1")
    ca, cert, key = (folder / name for name in ("ca.pem", "cert.pem", "key.pem"))
    authority.cert_pem.write_to_path(str(ca))
    cert.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
    leaf.private_key_pem.write_to_path(str(key))
    return ca, cert, key
