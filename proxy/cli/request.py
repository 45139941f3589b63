"""`iclient-proxy request`: one request through the running proxy, by the name of a connection."""

from __future__ import annotations

import base64
import json
import os
import re
import ssl
import sys
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlsplit

import typer

from proxy.cli.admin_client import NotRunningError, connection_to
from proxy.cli.failures import UsageError
from proxy.cli.renew import Connection
from proxy.cli.routes import address, listener_of, named, route_of, target
from proxy.cli.status import AsFormat, Config, Format
from proxy.cli.where import definitions_at

if TYPE_CHECKING:
    from proxy.definitions.settings import ReverseListener

_TIMEOUT: Final = 120.0  # longer than the proxy itself waits for a response by default
_CHUNK: Final = 64 * 1024
_METHOD: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Z-]+")  # RFC 9110 §9.1: a token
_FORM: Final = "application/x-www-form-urlencoded"


def request(
    connection: Connection,
    method: Annotated[str, typer.Argument(metavar="METHOD", help="GET, POST, …")],
    path: Annotated[str, typer.Argument(metavar="PATH", help="Below the connection's base_url, with its query.")],
    header: Annotated[list[str] | None, typer.Option("--header", "-H", help="'Name: value'; several times.")] = None,
    data: Annotated[
        str | None, typer.Option("--data", "-d", help="The body; @FILE for that of a file, @- for standard input.")
    ] = None,
    include: Annotated[bool, typer.Option("--include", "-i", help="Print status and header fields, too.")] = False,
    listener: Annotated[
        str | None, typer.Option("--listener", metavar="URL", help="The reverse listener; default by the definitions.")
    ] = None,
    config: Config = None,
    format: AsFormat = Format.TEXT,  # noqa: A002
) -> None:
    """Send one request for CONNECTION through the running proxy, as an application would, and print the response.

    The status goes to standard error, unless it is asked for with -i. Whatever it is, the exit status is 0.

    Example: iclient-proxy request acme GET '/v1/orders?limit=2' -i
    """
    from proxy.definitions.load import load

    definitions = load(definitions_at(config, os.environ), os.environ).definitions
    found = named(definitions, connection)
    door = listener_of(definitions, found)
    headers = _headers(header or (), _credential(door))
    body = None if data is None else _body(data)
    if body is not None and "content-type" not in {name.lower() for name, _ in headers}:
        headers.append(("Content-Type", _FORM))
    where = listener or address(door)
    route = route_of(found)
    stream = _stream(door, where)
    try:
        response = _sent(stream, method.upper(), target(route, path), route.host, headers, body)
        _print(response, connection, form=format, include=include)
    except (OSError, HTTPException) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
        raise NotRunningError(f"no proxy answers at {where}: {reason}") from error
    finally:
        stream.close()


def _stream(door: ReverseListener, where: str) -> HTTPConnection:
    if not where.startswith("https://"):
        return connection_to(where, _TIMEOUT)
    context = ssl.create_default_context()
    if door.tls is not None:
        # The very certificate that the definitions name, for whatever host it is.
        context.load_verify_locations(door.tls.cert)
        context.check_hostname = False
    split = urlsplit(where)
    return HTTPSConnection(split.hostname or "", split.port, timeout=_TIMEOUT, context=context)


def _credential(door: ReverseListener) -> list[tuple[str, str]]:
    """Return the listener's own credential, which an application on this machine would have to send."""
    auth = door.auth
    if auth is None:
        return []
    if auth.bearer is not None:
        return [("Authorization", f"Bearer {auth.bearer.reveal()}")]
    if auth.basic is not None:
        pair = f"{auth.basic.username}:{auth.basic.password.reveal()}"
        return [("Authorization", "Basic " + base64.b64encode(pair.encode()).decode("ascii"))]
    raise UsageError("the reverse listener asks for a client certificate, which this command has none of")


def _headers(written: list[str] | tuple[()], own: list[tuple[str, str]]) -> list[tuple[str, str]]:
    fields = []
    for line in written:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise UsageError(f"a header field is written 'Name: value', not {line.partition(':')[0][:40]!r}")
        fields.append((name.strip(), value.strip()))
    names = {name.lower() for name, _ in fields}
    return [*(field for field in own if field[0].lower() not in names), *fields]


def _body(data: str) -> bytes:
    if not data.startswith("@"):
        return data.encode()
    if data == "@-":
        return sys.stdin.buffer.read()
    try:
        return Path(data[1:]).read_bytes()
    except OSError as error:
        raise UsageError(f"the file {data[1:]} can't be read: {os.strerror(error.errno or 0).lower()}") from None


def _sent(
    stream: HTTPConnection,
    method: str,
    path: str,
    host: str | None,
    headers: list[tuple[str, str]],
    body: bytes | None,
) -> HTTPResponse:
    names = {name.lower() for name, _ in headers}
    try:
        if not _METHOD.fullmatch(method):
            raise ValueError
        stream.putrequest(method, path, skip_host=host is not None or "host" in names, skip_accept_encoding=True)
        if host is not None and "host" not in names:
            stream.putheader("Host", host)
        for name, value in headers:
            stream.putheader(name, value)
    except ValueError:
        raise UsageError("the method or a header field has a character that HTTP does not allow") from None
    if body is not None and not names & {"content-length", "transfer-encoding"}:
        stream.putheader("Content-Length", str(len(body)))
    stream.endheaders(body)
    return stream.getresponse()


def _print(response: HTTPResponse, connection: str, *, form: Format, include: bool) -> None:
    if form is Format.JSON:
        typer.echo(json.dumps({"connection": connection, **_content(response)}, indent=2, ensure_ascii=False))
        return
    head = f"HTTP/1.1 {response.status} {response.reason}".rstrip()
    out = sys.stdout.buffer
    if include:
        fields = "".join(f"{name}: {value}\r\n" for name, value in response.getheaders())
        out.write(f"{head}\r\n{fields}\r\n".encode("latin-1", "replace"))
    else:
        sys.stderr.write(f"{head}\n")
        sys.stderr.flush()
    # As it comes: an event stream is to be seen while it flows.
    while chunk := response.read1(_CHUNK):
        out.write(chunk)
        out.flush()
    out.flush()


def _content(response: HTTPResponse) -> dict[str, Any]:
    body = response.read()
    try:
        text: dict[str, str] = {"body": body.decode()}
    except UnicodeDecodeError:
        text = {"body_base64": base64.b64encode(body).decode("ascii")}
    return {"status": response.status, "reason": response.reason, "headers": response.getheaders(), **text}
