"""Who takes part: how each is configured for one fault, started, and asked for its version."""

from __future__ import annotations

import os
import socket
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from bench.peers import KINDS, ROOT, Place
from bench.processes import Running
from bench.upstream import Ports, fill, free_ports

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from bench.machine import Cores
    from bench.peers import Kind
    from bench.scoreboard.servers import FaultAt

_HERE: Final = Path(__file__).parent
_PATIENCE: Final = 60.0  # seconds for a process to take streams, on a machine that is busy with other things
_LOOK: Final = 0.01
# What the API of `error-200` says is a dead token; the others need no rule.
_RULES: Final = {"error-200": "    auth_errors: [{path: error, values: [invalid_auth]}]\n"}


@dataclass(frozen=True, slots=True)
class Where:
    """What a contestant is started with: folder for its files, its port, the core it gets."""

    folder: Path
    port: int
    core: int
    program: str


@dataclass(frozen=True, slots=True)
class Started:
    """A command and its environment."""

    command: list[str]
    environment: dict[str, str]


@dataclass(frozen=True, slots=True)
class Contestant:
    """One who takes part. `kind` says where its program is; `grants` are those that it knows."""

    name: str
    title: str
    about: str
    file: str
    kind: Kind
    grants: tuple[str, ...]
    start: Callable[[Where, FaultAt], Started]


def _product(where: Where, fault: FaultAt) -> Started:
    more = _RULES.get(fault.name, "")
    if fault.refresh_token:
        more += "    refresh_token: {env: REFRESH_TOKEN}\n"
    file = where.folder / "iclient-proxy.yaml"
    fill(_HERE / file.name, file, {**_values(where, fault), "MORE": more})
    environment = {
        "CLIENT_SECRET": fault.secret,
        "REFRESH_TOKEN": fault.refresh_token,
        "PYTHONPATH": str(ROOT),
    }
    return Started([where.program, "-m", "proxy", "run", "--config", str(file)], environment)


def _envoy(where: Where, fault: FaultAt) -> Started:
    file = where.folder / "envoy.yaml"
    fill(_HERE / file.name, file, {**_values(where, fault), "SECRET": fault.secret})
    words = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "-c", str(file)]
    return Started([where.program, *words], {})


def _mitmproxy(where: Where, fault: FaultAt) -> Started:
    words = [
        where.program, "--quiet", "--set", "flow_detail=0", "--set", f"confdir={where.folder}",
        "--mode", f"reverse:http://127.0.0.1:{fault.api_port}@127.0.0.1:{where.port}",
        "--scripts", str(_HERE / "addon.py"),
    ]  # fmt: skip
    environment = {"TOKEN_URL": fault.token_url, "CLIENT_ID": fault.client, "CLIENT_SECRET": fault.secret}
    return Started(words, environment)


def _values(where: Where, fault: FaultAt) -> dict[str, object]:
    return {
        "PORT": where.port, "NAME": fault.name, "GRANT": fault.grant, "CLIENT": fault.client,
        "TOKEN_URL": fault.token_url, "AUTHORITY_PORT": fault.authority_port,
        "API_URL": fault.api_url, "API_PORT": fault.api_port,
    }  # fmt: skip


def _kind(name: str) -> Kind:
    return next(kind for kind in KINDS if kind.name == name)


PRODUCT: Final = "proxy"
CONTESTANTS: Final = (
    Contestant(
        PRODUCT, "iclient-proxy",
        "as its README shows it; bodies of up to 4 MiB may be sent again, one row has a rule for errors in bodies",
        "iclient-proxy.yaml", _kind("proxy"), ("client_credentials", "refresh_token"), _product,
    ),
    Contestant(
        "envoy", "Envoy",
        "`credential_injector` with its OAuth source; a 401 is retried, twice at most, with bodies of up to 4 MiB",
        "envoy.yaml", _kind("envoy"), ("client_credentials",), _envoy,
    ),
    Contestant(
        "mitmproxy", "mitmproxy + addon",
        "an addon of about a hundred lines: one renewal after a 401, and the request once more",
        "addon.py", _kind("mitmproxy"), ("client_credentials",), _mitmproxy,
    ),
)  # fmt: skip
NAMES: Final = tuple(contestant.name for contestant in CONTESTANTS)


class Field:
    """Finds the programs of the contestants and starts them."""

    def __init__(self, tools: Path, python: str, cores: Cores, folder: Path) -> None:
        # Nothing of the bench stands behind them: only where programs are is asked for.
        self._place = Place(folder, Ports(0, 0, 0, Path()), cores, python, tools)

    def ready(self, names: list[str]) -> tuple[list[Contestant], dict[str, str]]:
        """Return the contestants of these names that are there, and how to get the others."""
        wanted = [each for each in CONTESTANTS if each.name in names]
        missing = {each.title: each.kind.get for each in wanted if each.kind.find(self._place) is None}
        return [each for each in wanted if each.title not in missing], missing

    def version(self, contestant: Contestant) -> str:
        """Return what the program says is its version."""
        return contestant.kind.version(self._program(contestant))

    def start(self, contestant: Contestant, fault: FaultAt) -> Serving:
        """Start one before the servers of one fault; raises RuntimeError if it takes no streams."""
        folder = self._place.folder / f"{contestant.name}-{fault.name}-{time.monotonic_ns()}"
        folder.mkdir(parents=True)
        [port] = free_ports(1)
        where = Where(folder, port, self._place.cores.proxy, self._program(contestant))
        return Serving(contestant.start(where, fault), where)

    def _program(self, contestant: Contestant) -> str:
        program = contestant.kind.find(self._place)
        if program is None:
            raise FileNotFoundError(f"{contestant.title} is missing: {contestant.kind.get}")
        return program


class Serving(AbstractContextManager["Serving"]):
    """A contestant that takes streams on `port`, pinned to `core`, for the length of a `with`."""

    def __init__(self, started: Started, where: Where) -> None:
        self.port, self.core = where.port, where.core
        self.process = Running(
            started.command, where.core, where.folder / "output",
            environment={"PATH": os.environ["PATH"], **started.environment},
        )  # fmt: skip

    def __enter__(self) -> Self:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), _PATIENCE).close()
            except OSError:
                if not self.process.alive or time.monotonic() > deadline:
                    self.process.stop()
                    raise RuntimeError(f"does not start: {self.process.said()}") from None
                time.sleep(_LOOK)
            else:
                return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.stop()
