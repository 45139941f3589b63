"""mitmproxy's part: the credential is set by an addon, bodies are streamed, so that it does no more than it has to."""

from __future__ import annotations

import os
from typing import Protocol

_CREDENTIAL = f"Bearer {os.environ['BENCH_TOKEN']}"


class Message(Protocol):
    """What the addon touches of a request or response of mitmproxy, which is known only where mitmproxy is."""

    headers: dict[str, str]
    stream: bool


class Flow(Protocol):
    """A request and its response."""

    request: Message
    response: Message


class Inject:
    """Sets the credential on every request."""

    def requestheaders(self, flow: Flow) -> None:
        """Set it as soon as the head is there."""
        flow.request.headers["Authorization"] = _CREDENTIAL

    def responseheaders(self, flow: Flow) -> None:
        """Relay the body as it comes."""
        flow.response.stream = True


addons = [Inject()]
