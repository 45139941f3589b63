"""The servers with the faults: `iclient-proxy demo --faults` as it ships, and what they counted."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from bench.peers import ROOT

if TYPE_CHECKING:
    from types import TracebackType

_PATIENCE = 10.0
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True)
class FaultAt:
    """Where one fault is served, and to whom."""

    name: str
    does: str
    grant: str
    token_url: str
    api_url: str
    client: str
    secret: str
    refresh_token: str = ""

    @property
    def api_port(self) -> int:
        """The port of the API."""
        return urlsplit(self.api_url).port or 80

    @property
    def authority_port(self) -> int:
        """The port of the token endpoint."""
        return urlsplit(self.token_url).port or 80


@dataclass(frozen=True, slots=True)
class Counts:
    """What the servers of one fault have counted so far."""

    token_requests: int
    api_requests: int
    token_outcomes: dict[str, int]
    api_outcomes: dict[str, int]
    grant: str = ""


class Servers(AbstractContextManager["Servers"]):
    """The demo's servers with every fault, for the length of a `with`; tokens live `lifetime` seconds."""

    def __init__(self, python: str, lifetime: int) -> None:
        self._process = subprocess.Popen(
            [python, "-m", "proxy", "demo", "--faults", "all", "--format", "json", "--expires-in", str(lifetime)],
            stdout=subprocess.PIPE,
            text=True,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        )
        self.faults: dict[str, FaultAt] = {}
        self._counts = self._reset = ""

    def __enter__(self) -> Self:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            self.__exit__(None, None, None)
            raise RuntimeError("the servers with the faults did not start")
        told = json.loads(line)
        self._counts, self._reset = told["counts"], told["reset"]
        for each in told["faults"]:
            self.faults[each["name"]] = FaultAt(
                each["name"],
                each["does"],
                each["grant_type"],
                each["token_url"],
                each["api_url"],
                told["client_id"],
                told["client_secret"],
                each.get("refresh_token", ""),
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(_PATIENCE)
        if self._process.stdout:
            self._process.stdout.close()

    def counts(self, fault: str) -> Counts:
        """Return what one fault has counted since the last reset."""
        return Counts(**_json(urllib.request.Request(self._counts))[fault])

    def reset(self) -> None:
        """Let every fault begin anew."""
        _json(urllib.request.Request(self._reset, method="POST"))


def _json(request: urllib.request.Request) -> dict[str, Any]:
    with _OPENER.open(request, timeout=_PATIENCE) as response:
        found: dict[str, Any] = json.load(response)
    return found
