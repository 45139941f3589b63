"""A closed loop through tunnels: each asks for the next answer as soon as it has the last one whole.

wrk can't ask a proxy for a tunnel. This is CPython, but it only takes bytes in, a quarter of a MiB at once; what it
costs is the same for every peer, since those that need no CONNECT are asked by it, too.
"""

from __future__ import annotations

import argparse
import json
import selectors
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from time import perf_counter
from typing import Final

from bench.figures import percentile
from bench.load import head

_BUFFER: Final = 256 * 1024


@dataclass(slots=True)
class _Tunnel:
    """One stream: when it asked, how much of the answer is still to come."""

    socket: socket.socket
    asked: float = 0.0
    left: int = 0


def tunnel(port: int, target: str) -> socket.socket:
    """Open a stream, and on it a tunnel to `target` if there is one; raises OSError when it is refused."""
    stream = socket.create_connection(("127.0.0.1", port), 30)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if target:
        stream.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            piece = stream.recv(1)
            if not piece:
                raise OSError("the proxy closed the stream instead of opening a tunnel")
            answer += piece
        if answer[9:12] != b"200":
            stream.close()
            raise OSError(f"no tunnel: {answer[:60]!r}")
    return stream


def _length(data: memoryview) -> int:
    """Return how many bytes the answer that begins here has; its head comes in one piece."""
    text = bytes(data[:4096])
    end = text.index(b"\r\n\r\n")
    place = text[:end].lower().index(b"\r\ncontent-length:") + 17
    return end + 4 + int(text[place : text.index(b"\r\n", place)])


def pull(port: int, target: str, path: str, seconds: float, connections: int, credential: str) -> dict[str, float]:
    """Keep the tunnels busy for so long; return what `closed.lua` would say."""
    latencies: list[float] = []
    sent = taken = failed = 0
    buffer = bytearray(_BUFFER)
    view = memoryview(buffer)
    with ExitStack() as opened, selectors.DefaultSelector() as selector:
        for _ in range(connections):
            each = _Tunnel(opened.enter_context(tunnel(port, target)))
            selector.register(each.socket, selectors.EVENT_READ, each)
        begun = perf_counter()

        def ask(each: _Tunnel) -> None:
            nonlocal sent
            sent += 1
            each.asked = perf_counter()
            each.socket.sendall(head(port, path, sent, credential))

        for key in list(selector.get_map().values()):
            ask(key.data)
        end = begun + seconds
        while (now := perf_counter()) < end:
            for key, _ in selector.select(end - now):
                each = key.data
                size = each.socket.recv_into(buffer)
                if not size:
                    raise OSError("a tunnel ended within the load")
                taken += size
                if not each.left:
                    failed += buffer[9:10] not in b"23"
                    each.left = _length(view[:size])
                each.left -= size
                if not each.left:
                    latencies.append((perf_counter() - each.asked) * 1e6)
                    ask(each)
        took = perf_counter() - begun
    return {
        "sent": sent, "completed": len(latencies), "bytes": taken, "seconds": took, "p50": percentile(latencies, 50),
        "p99": percentile(latencies, 99), "status": failed, "socket": 0,
    }  # fmt: skip


def main() -> None:
    """Print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, kind in (("port", int), ("path", str), ("seconds", float), ("connections", int)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    parser.add_argument("--target", default="")
    parser.add_argument("--credential", default="")
    words = parser.parse_args()
    said = pull(words.port, words.target, words.path, words.seconds, words.connections, words.credential)
    print(json.dumps(said))


if __name__ == "__main__":
    main()
