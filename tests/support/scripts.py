"""What an upstream may do with a request: whole responses, pieces between gates, half ones, none, tunnels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

    from tests.support.upstream import Request, Script

OK_BODY: Final = b'{"from": "upstream"}'


def response(body: bytes = OK_BODY, *fields: bytes, status: bytes = b"200 OK") -> bytes:
    """Return a plain response with a Content-Length."""
    lines = [b"HTTP/1.1 " + status, *fields, b"Content-Length: %d" % len(body)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def unauthorized(challenge: bytes = b'Bearer error="invalid_token"') -> bytes:
    """Return the response of an API that does not like the token."""
    return response(b'{"error": "no"}', b"WWW-Authenticate: " + challenge, status=b"401 Unauthorized")


def replies(*pieces: bytes | asyncio.Event) -> Script:
    """Read the body, then write the pieces and keep the stream."""

    async def script(request: Request) -> None:
        await request.read_body()
        await request.send(*pieces)

    return script


def replies_then_fin(*pieces: bytes | asyncio.Event, close_notify: bool = True) -> Script:
    """Read the body, write the pieces, then end the stream properly."""

    async def script(request: Request) -> None:
        await request.read_body()
        await request.send(*pieces)
        request.fin(close_notify=close_notify)

    return script


def replies_then_resets(*pieces: bytes | asyncio.Event) -> Script:
    """Read the body, write the pieces, then reset the stream."""

    async def script(request: Request) -> None:
        await request.read_body()
        await request.send(*pieces)
        request.reset()

    return script


def replies_early(*pieces: bytes | asyncio.Event) -> Script:
    """Answer on the head alone; the body is read afterwards."""

    async def script(request: Request) -> None:
        await request.send(*pieces)

    return script


async def stalls(request: Request) -> None:
    """Take the whole request and never answer."""
    await request.read_body()
    await request.gone()
    request.finished = True


async def echoes(request: Request) -> None:
    """Answer with the body that came."""
    await request.send(response(await request.read_body()))


async def answer_by_token(request: Request) -> None:
    """Answer 200, or 401 to a token that is among the refused ones."""
    await request.read_body()
    await request.send(unauthorized() if request.token in request.stream.upstream.refused_tokens else response())


def tunnels(upgrade: bytes = b"websocket") -> Script:
    """Answer 101 and send every byte back, until the proxy ends the stream."""

    async def script(request: Request) -> None:
        request.finished = True
        await request.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + upgrade + b"\r\n\r\n"
        )
        stream = request.stream
        while True:
            await stream.until(lambda: bool(stream.buffer))
            data = bytes(stream.buffer)
            stream.buffer.clear()
            await stream.write(data)

    return script
