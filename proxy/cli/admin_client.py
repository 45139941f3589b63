"""How the command line talks to a running proxy: the admin API over http.client, nothing but the standard library."""

from __future__ import annotations

import json
import socket
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE: Final = "ICLIENT_PROXY_ADMIN"
CREDENTIAL: Final = "ICLIENT_PROXY_ADMIN_TOKEN"
DEFAULT: Final = "http://127.0.0.1:7489"
Row = dict[str, Any]
_ELSEWHERE: Final = f"Another address is named by --admin URL or ${VARIABLE}."
_ANSWER_MAX: Final = 16 * 1024 * 1024


class NotRunningError(Exception):
    """No proxy answers there."""


class AdminRefusalError(Exception):
    """The running proxy says no; `status` is that of its answer."""

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        super().__init__(reason)


class AdminClient:
    """Asks the admin listener at `url`: `http://HOST:PORT` or `unix:/PATH`.

    `environ` may hold the credential for a listener that is not on this machine (ICLIENT_PROXY_ADMIN_TOKEN): it has no
    option, because command lines are public.
    """

    def __init__(self, url: str, environ: Mapping[str, str], *, timeout: float = 30.0) -> None:
        self._url = url
        self._timeout = timeout
        self._credential = environ.get(CREDENTIAL)

    def connections(self) -> list[Row]:
        """Return the rows of `/api/connections`."""
        rows: list[Row] = json.loads(self._ask("GET", "/api/connections"))
        return rows

    def connection(self, name: str) -> Row:
        """Return one row; raises `AdminRefusalError` (404) for an unknown name."""
        rows = self.connections()
        found = next((row for row in rows if row["name"] == name), None)
        if found is None:
            names = ", ".join(str(row["name"]) for row in rows) or "none"
            raise AdminRefusalError(404, f"no connection is called {name!r}; there are: {names}")
        return found

    def renew(self, connection: str) -> Row:
        """Have that connection's token renewed; return its row afterwards."""
        return self._act(connection, "renew")

    def revoke(self, connection: str) -> dict[str, str]:
        """Have the grant given back and forgotten; return for each token what became of it, best `revoked`."""
        outcomes: list[str] = self._act(connection, "revoke")["outcomes"]
        parts = (outcome.partition(": ") for outcome in outcomes)
        return {token: code for token, _, code in parts}

    def test(self, connection: str) -> Row:
        """Have the connection's `ping` sent; return `status` (None without a response), `good`, `detail` and `ms`."""
        return self._act(connection, "test")

    def authorize(self, connection: str) -> Row:
        """Begin an authorization whose redirect is brought by hand; return `authorization_url` and `session`."""
        return self._act(connection, "authorize")

    def redeem(self, connection: str, url: str, session: str) -> Row:
        """Hand over the URL that the browser was redirected to; return the connection's row afterwards."""
        return self._act(connection, "redeem", {"url": url, "session": session})

    def device(self, connection: str) -> Row:
        """Begin a device authorization; return `user_code`, `verification_uri`, `…_complete` and `expires_in`."""
        return self._act(connection, "device")

    def reload(self) -> Row:
        """Have the definitions read again; return `applied`, `changed` and `faults`."""
        report: Row = json.loads(self._ask("POST", "/api/reload"))
        return report

    def probe(self, path: str) -> tuple[int, str]:
        """Return the status and the text of a probe; raises `NotRunningError` when nobody answers."""
        status, body = self._exchange("GET", path)
        return status, body.decode("utf-8", "replace").strip()

    def _act(self, connection: str, action: str, content: Row | None = None) -> Row:
        answer = self._ask("POST", f"/api/connections/{quote(connection, safe='')}/{action}", content)
        row: Row = json.loads(answer)
        return row

    def _ask(self, method: str, path: str, content: Row | None = None) -> bytes:
        status, body = self._exchange(method, path, content)
        if status == 200:
            return body
        try:
            problem = json.loads(body)
            reason = problem["detail"] if status == 404 else f"{problem['title']}: {problem['detail']}"
        except (ValueError, TypeError, KeyError):
            raise NotRunningError(f"what answers at {self._url} is not an iclient-proxy (status {status})") from None
        raise AdminRefusalError(status, reason)

    def _exchange(self, method: str, path: str, content: Row | None = None) -> tuple[int, bytes]:
        connection = connection_to(self._url, self._timeout)
        fields = {"Accept": "application/json"}
        if self._credential:
            fields["Authorization"] = f"Bearer {self._credential}"
        try:
            if content is not None:
                fields["Content-Type"] = "application/json"
            connection.request(method, path, body=None if content is None else json.dumps(content), headers=fields)
            response = connection.getresponse()
            return response.status, response.read(_ANSWER_MAX)
        except (OSError, HTTPException) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
            raise NotRunningError(
                f"no proxy answers at {self._url}: {reason}. Is `iclient-proxy run` running? {_ELSEWHERE}"
            ) from error
        finally:
            connection.close()


class _UnixConnection(HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the path."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def connection_to(url: str, timeout: float) -> HTTPConnection:
    """Return a connection to `http://HOST:PORT` or `unix:/PATH`, not yet open; raises `NotRunningError`."""
    if url.startswith("unix:"):
        return _UnixConnection(url.removeprefix("unix:"), timeout)
    scheme, separator, rest = url.partition("://")
    authority = rest.rstrip("/") if separator else url
    if (separator and scheme != "http") or not authority or set(authority) & set("/@?# "):
        raise NotRunningError(f"{url} is not the address of an admin listener: write http://HOST:PORT or unix:/PATH")
    try:
        return HTTPConnection(authority, timeout=timeout)
    except HTTPException as error:
        raise NotRunningError(f"{url} is not the address of an admin listener: {error}") from error
