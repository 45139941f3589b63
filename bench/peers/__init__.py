"""The peers: where each program is found, how it is configured and started, and how to get it when it is missing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.load import Entry, ask_at
from bench.processes import Running, module
from bench.rows import ACCELERATED_OFF, ACCELERATED_ON, ALL_ROUTES, FORWARD, SOME, SOME_ROUTES, WORKERS
from bench.upstream import TOKEN, fill, free_ports
from hatch_build import outdated

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.machine import Cores
    from bench.upstream import Ports

_HERE: Final = Path(__file__).parent
ROOT: Final = _HERE.parents[1]
_PATIENCE: Final = 30.0  # seconds for a peer to answer its first request
_LOOK: Final = 0.001


@dataclass(frozen=True, slots=True)
class Place:
    """What a peer is started with: where it may write, what stands behind it, on which core, by which interpreter."""

    folder: Path
    upstream: Ports
    cores: Cores
    python: str
    tools: Path  # the environment with the peers that PyPI has


@dataclass(frozen=True, slots=True)
class Launch:
    """A command and where its process will listen.

    `before` is run to its end first; `beside` runs as long as it does, on the load's core.
    """

    command: list[str]
    plain: Entry
    secured: Entry
    environment: dict[str, str]
    logs: bool = False  # it writes lines to standard output, which something has to read
    tunnel: Entry | None = None
    before: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Kind:
    """One peer. `find` returns its program or None; `idle` is how many idle streams it is given.

    A `special` one takes part only in rows that name it.
    """

    name: str
    title: str
    get: str
    find: Callable[[Place], str | None]
    version: Callable[[str], str]
    launch: Callable[[Place, str, Path], Launch]
    idle: int = 10_000
    special: bool = False


class Started:
    """A running peer, ready to answer. `ready_after` is seconds from exec to the first proxied answer."""

    def __init__(self, kind: Kind, place: Place) -> None:
        program = kind.find(place)
        if program is None:
            raise FileNotFoundError(f"{kind.title} is missing: {kind.get}")
        folder = place.folder / f"{kind.name}-{time.monotonic_ns()}"
        folder.mkdir(parents=True)
        folder.chmod(0o755)
        launch = kind.launch(place, program, folder)
        self.plain, self.secured, self.tunnel = launch.plain, launch.secured, launch.tunnel or launch.plain
        self._parts = ExitStack()
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **launch.environment}
        if launch.before:
            done = subprocess.run(launch.before, check=False, capture_output=True, text=True, env=environment)
            if done.returncode:
                raise RuntimeError(f"{launch.before[-1]} ended with {done.returncode}: {done.stderr[-500:]}")
        if launch.beside:
            beside = Running(launch.beside, place.cores.load, folder / "beside", environment={"PYTHONPATH": str(ROOT)})
            self._parts.callback(beside.stop)
        output = self._reader(place, folder) if launch.logs else None
        begun = time.perf_counter()
        self.process = Running(
            launch.command, place.cores.proxy, folder / "output", environment=launch.environment, stdout=output
        )
        self._parts.callback(self.process.stop)
        if output is not None:
            os.close(output)
        try:
            self._wait(begun)
        except BaseException:
            self._parts.close()
            raise

    def _reader(self, place: Place, folder: Path) -> int:
        """Start who reads the log lines, on the load's core; returns where to write them."""
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb") as source:
            cat = subprocess.Popen(
                ["taskset", "-c", str(place.cores.load), "cat"], stdin=source, stdout=subprocess.DEVNULL
            )
        self._parts.callback(cat.wait)
        return writing

    def _wait(self, begun: float) -> None:
        while True:
            try:
                status = ask_at(_first_route(self.plain), "/small", patience=_PATIENCE).status
            except OSError:
                status = 0
            if status == 200:
                self.ready_after = time.perf_counter() - begun
                return
            if not self.process.alive or time.perf_counter() - begun > _PATIENCE:
                raise RuntimeError(f"does not get ready (status {status}): {self.process.said()}")
            time.sleep(_LOOK)

    def check(self) -> None:
        """Raise ValueError unless the peer relays what the others relay: target and ids as they came, TLS too."""
        for entry in (self.plain, self.secured):
            reply = ask_at(_first_route(entry), "/echo")
            one = f"{1:016x}"
            expected = [f"GET /bench/echo?item=1&cursor={one}", one, f"00-{one}{one}-{one}-01", "acme-production"]
            if reply.status != 200 or reply.body.decode().splitlines() != expected:
                raise ValueError(f"relays something else: {reply.status} {reply.body.decode()!r}")

    def stop(self) -> None:
        """End the process and whoever reads its lines."""
        self._parts.close()


def _first_route(entry: Entry) -> Entry:
    return replace(entry, prefix=f"{entry.prefix}0") if entry.routes else entry


def ready_peers(wanted: list[str], place: Place) -> tuple[list[Kind], dict[str, str]]:
    """Return the peers among `wanted` that can be started, and why the others can't."""
    missing = {kind.name: kind.get for kind in KINDS if kind.name in wanted and kind.find(place) is None}
    return [kind for kind in KINDS if kind.name in wanted and kind.name not in missing], missing


def install(tools: Path, python: str) -> str:
    """Make the environment with the peers that PyPI has, once; returns what went wrong, if anything did."""
    lock = ROOT / "requirements-bench.lock"
    stamp = tools / ".installed"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == lock.read_text(encoding="utf-8"):
        return ""
    print(f"Setting up {tools} (once; about a minute)", flush=True)
    for command in (
        [python, "-m", "venv", "--clear", str(tools)],
        [str(tools / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
         "--require-hashes", "-r", str(lock)],
    ):  # fmt: skip
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            return done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"status {done.returncode}"
    stamp.write_text(lock.read_text(encoding="utf-8"), encoding="utf-8")
    return ""


# Where programs are


def _on_path(name: str) -> Callable[[Place], str | None]:
    return lambda _: shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


def _in_tools(pattern: str) -> Callable[[Place], str | None]:
    def find(place: Place) -> str | None:
        return next((str(path) for path in sorted(place.tools.glob(pattern)) if os.access(path, os.X_OK)), None)

    return find


def _said(*words: str) -> Callable[[str], str]:
    """Return what finds the first version in three parts in the output of a command."""

    def version(program: str) -> str:
        done = subprocess.run([program, *words], check=False, capture_output=True, text=True)
        found = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
        return found[0] if found else "?"

    return version


# How they are started


def _configured(
    place: Place, folder: Path, template: str, more: dict[str, object] | None = None
) -> tuple[Path, int, int]:
    own, own_tls = free_ports(2)
    values: dict[str, object] = {
        "FOLDER": folder, "PORT": own, "TLS_PORT": own_tls, "UPSTREAM": place.upstream.plain,
        "TLS_UPSTREAM": place.upstream.tls, "CA": place.upstream.ca, "TOKEN": TOKEN, **(more or {}),
    }  # fmt: skip
    file = folder / template
    fill(_HERE / template, file, values)
    return file, own, own_tls


def _nginx(place: Place, program: str, folder: Path) -> Launch:
    user = "user root;" if os.geteuid() == 0 else ""
    file, own, own_tls = _configured(place, folder, "nginx.conf", {"USER": user})
    return Launch([program, "-p", str(folder), "-c", str(file), "-e", "stderr"], Entry(own), Entry(own_tls), {})


def _haproxy(place: Place, program: str, folder: Path) -> Launch:
    file, own, own_tls = _configured(place, folder, "haproxy.cfg")
    return Launch([program, "-db", "-f", str(file)], Entry(own), Entry(own_tls), {})


def _haproxy_tcp(place: Place, program: str, folder: Path) -> Launch:
    file, own, _ = _configured(place, folder, "haproxy-tcp.cfg")
    # Nobody puts a credential on for those who look at nothing.
    entry = Entry(own, credential=f"Bearer {TOKEN}")
    return Launch([program, "-db", "-f", str(file)], entry, entry, {})


def _envoy(place: Place, program: str, folder: Path) -> Launch:
    file, own, own_tls = _configured(place, folder, "envoy.yaml")
    words = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "-c", str(file)]
    return Launch([program, *words], Entry(own), Entry(own_tls), {})


def _caddy(place: Place, program: str, folder: Path) -> Launch:
    file, own, own_tls = _configured(place, folder, "Caddyfile")
    command = [program, "run", "--adapter", "caddyfile", "--config", str(file)]
    return Launch(command, Entry(own), Entry(own_tls), {"GOMAXPROCS": "1"})


def _mitmproxy(place: Place, program: str, folder: Path) -> Launch:
    own, own_tls = free_ports(2)
    ports = place.upstream
    words = [
        program, "--quiet", "--set", "flow_detail=0", "--set", f"confdir={folder}", "--set", "connection_strategy=lazy",
        "--set", f"ssl_verify_upstream_trusted_ca={ports.ca}", "--set", "validate_inbound_headers=false",
        "--mode", f"reverse:http://127.0.0.1:{ports.plain}@127.0.0.1:{own}",
        "--mode", f"reverse:https://localhost:{ports.tls}@127.0.0.1:{own_tls}",
        "--scripts", str(_HERE / "mitmproxy_addon.py"),
    ]  # fmt: skip
    return Launch(words, Entry(own), Entry(own_tls), {"BENCH_TOKEN": TOKEN})


def _aiohttp(place: Place, program: str, _: Path) -> Launch:
    own, own_tls = free_ports(2)
    ports = place.upstream
    words = [str(_HERE / "aiohttp_proxy.py"), own, own_tls, ports.plain, ports.tls, ports.ca, "asyncio"]
    return Launch([program, *map(str, words)], Entry(own), Entry(own_tls), {"BENCH_TOKEN": TOKEN})


def _product(
    access: str, routes: int, turn: int, *, pure: bool, workers: int = 1
) -> Callable[[Place, str, Path], Launch]:
    def launch(place: Place, program: str, folder: Path) -> Launch:
        origin = f"http://127.0.0.1:{place.upstream.plain}"
        # Without `prefetch` no token request falls into a measurement: the warm-up asks every one.
        more = "".join(
            f"  c{number}: {{iclient: bench, base_url: {origin}/bench, prefetch: false}}\n" for number in range(routes)
        )
        values: dict[str, object] = {
            "ACCESS": access, "MORE": more, "AUTHORITY": place.upstream.authority, "WORKERS": workers,
        }  # fmt: skip
        file, own, _ = _configured(place, folder, "iclient-proxy.yaml", values)
        plain = Entry(own, "/c", turn) if turn else Entry(own, f"/c{routes - 1}" if routes else "/bench")
        environment = {
            "BENCH_SECRET": "canary-of-the-bench", "PYTHONPATH": str(ROOT), "ICLIENT_PROXY_PURE": "1" if pure else "",
        }  # fmt: skip
        return Launch(
            [program, "-m", "proxy", "run", "--config", str(file)], plain, Entry(own, "/tls"), environment, logs=True
        )

    return launch


def _forward(place: Place, program: str, folder: Path) -> Launch:
    """Start the product as a forward proxy, and beside it what takes wrk's streams through its tunnels."""
    file, own, _ = _configured(place, folder, "iclient-proxy-forward.yaml", {"AUTHORITY": place.upstream.authority})
    [adapter] = free_ports(1)
    plain, tls = f"127.0.0.1:{place.upstream.plain}", f"localhost:{place.upstream.tls}"
    product = [program, "-m", "proxy"]
    return Launch(
        [*product, "run", "--config", str(file)],
        Entry(own, f"http://{plain}/bench"),
        Entry(adapter, host=tls, secured=True),
        {"BENCH_SECRET": "canary-of-the-bench", "PYTHONPATH": str(ROOT), "ICLIENT_PROXY_PURE": "1"},
        logs=True,
        tunnel=Entry(own, credential=f"Bearer {TOKEN}", target=plain),
        before=(*product, "ca", "init", "--domains", "localhost", "--config", str(file)),
        beside=tuple(module("bench.adapter", str(adapter), str(own), tls)),
    )


def _product_kind(name: str, title: str, access: str, routes: int = 0, turn: int = 0) -> Kind:
    return Kind(
        name, title, "make setup", _interpreter, _said("-m", "proxy", "version"),
        _product(access, routes, turn, pure=True), special=routes > 0,
    )  # fmt: skip


def _accelerated_kind(name: str, title: str, access: str) -> Kind:
    return Kind(
        name, title, "make accelerate", _compiled, _said("-m", "proxy", "version"),
        _product(access, 0, 0, pure=False),
    )  # fmt: skip


def _compiled(place: Place) -> str | None:
    if outdated():
        return None
    script = "from proxy.form import form; print(form())"
    said = subprocess.run([place.python, "-c", script], check=False, capture_output=True, text=True, cwd=ROOT)
    return place.python if said.stdout.strip() == "compiled" else None


def _interpreter(place: Place) -> str | None:
    return place.python


_PYPI: Final = "from PyPI into .cache/bench/peers; it could not be installed"

KINDS: Final = (
    Kind("nginx", "nginx, static header", "apt-get install nginx", _on_path("nginx"), _said("-v"), _nginx),
    Kind("haproxy", "HAProxy, static header", "apt-get install haproxy", _on_path("haproxy"), _said("-v"), _haproxy),
    Kind(
        "envoy", "Envoy, credential_injector", _PYPI,
        _in_tools("lib/python*/site-packages/envoy/_bin/envoy"), _said("--version"), _envoy,
    ),
    Kind("caddy", "Caddy, static header", _PYPI, _in_tools("bin/caddy"), _said("version"), _caddy),
    Kind("mitmproxy", "mitmproxy, addon", _PYPI, _in_tools("bin/mitmdump"), _said("--version"), _mitmproxy, idle=1000),
    Kind(
        "aiohttp", "aiohttp server + ClientSession", "make setup",
        _interpreter, _said("-c", "import aiohttp; print(aiohttp.__version__)"), _aiohttp,
    ),
    _product_kind("proxy", "this proxy, access log off", "false"),
    _product_kind("proxy-log", "this proxy, access log on", "true"),
    _accelerated_kind(ACCELERATED_OFF, "this proxy, accelerated, access log off", "false"),
    _accelerated_kind(ACCELERATED_ON, "this proxy, accelerated, access log on", "true"),
    _product_kind(SOME, f"this proxy, {SOME_ROUTES} connections defined", "false", SOME_ROUTES),
    _product_kind("proxy-1000", f"this proxy, {ALL_ROUTES:,} connections defined, one asked", "false", ALL_ROUTES),
    _product_kind("proxy-1000-all", f"this proxy, {ALL_ROUTES:,} asked in turn", "false", ALL_ROUTES, ALL_ROUTES),
    Kind(
        WORKERS, "this proxy, two workers", "make setup", _interpreter, _said("-m", "proxy", "version"),
        _product("false", 0, 0, pure=True, workers=2), special=True,
    ),
    Kind(
        "haproxy-tcp", "HAProxy, relaying bytes", "apt-get install haproxy",
        _on_path("haproxy"), _said("-v"), _haproxy_tcp, special=True,
    ),
    Kind(
        FORWARD, "this proxy, as a forward proxy", "make setup",
        _interpreter, _said("-m", "proxy", "version"), _forward, special=True,
    ),
)  # fmt: skip
PEERS: Final = tuple(kind.name for kind in KINDS)
