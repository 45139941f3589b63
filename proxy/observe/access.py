"""The access log: one line per exchange, from a template: a logging library would cost as much as the exchange.

Records are kept for a moment and their lines made in batches: between two requests the template, its tables and its
code leave the processor's caches, and a line made alone costs twice as much.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.observe.redact import SHORTENED, Redactor, forms, look_for, masked
from proxy.observe.render import clamp, timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from proxy.clock import Clock
    from proxy.exchange.record import ExchangeRecord
    from proxy.observe.redact import Look
    from proxy.observe.render import Field
    from proxy.observe.sink import LineSink

_LINE: Final = (
    b'{"event":"exchange","connection":"%b","method":"%b","path":"%b","status":%d,"attempts":%d,"renewed":%b,'
    b'"ms_total":%.3f,"ms_upstream":%.3f,"ms_token":%b,"bytes_in":%d,"bytes_out":%d,"request_id":"%b",'
    b'"level":"info","timestamp":"%b"}\n'
)
# What stands in JSON as it is; `translate` deletes it, so that nothing is left of most paths. "%" is left: what is
# percent-encoded may be another spelling of a secret, and is looked at more closely.
_PLAIN: Final = bytes(byte for byte in range(0x20, 0x7F) if byte not in b'"\\%')
_WELL_KNOWN: Final = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
_PLAIN_PATH: Final = 1024
# Lines made at once; more saves nothing, and the loop stands still for as long.
BATCH: Final = 64


@dataclass(frozen=True, slots=True)
class _Known:
    """What the lines of a connection may not show: `beginnings` tell whether it is worth to `look`."""

    secrets: tuple[bytes, ...]
    beginnings: tuple[bytes, ...]
    look: Look


class AccessLog:
    """Writes the line of each finished exchange; never blocks, never raises.

    `soon` is asked to call what it is given within a tick, a tenth of a second: lines wait no longer, also where no
    batch gets full. `flush` at the end leaves nothing behind. `render` replaces the template where lines are for a
    terminal.
    """

    def __init__(
        self,
        sink: LineSink,
        clock: Clock,
        soon: Callable[[Callable[[], None]], object],
        render: Callable[[dict[str, Field]], bytes] | None = None,
    ) -> None:
        self._write = sink.write_all
        self._wall = clock.wall
        self._soon = soon
        self._waiting: list[ExchangeRecord] = []
        self._asked = False
        self._render = render
        self._milliseconds = -1
        self._stamp = b""
        # By connection, so that a token that was replaced is forgotten.
        self._known: dict[str, _Known] = {}
        self._redact = Redactor()

    def record(self, exchange: ExchangeRecord) -> None:
        """Take the record of one finished exchange."""
        exchange.ended_at = self._wall()
        waiting = self._waiting
        waiting.append(exchange)
        if len(waiting) >= BATCH:
            self.flush()
        elif not self._asked:
            self._asked = True
            self._soon(self._tick)

    def flush(self) -> None:
        """Write the lines of all records that wait."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        render = self._render
        if render is None:
            paths = [exchange.path for exchange in waiting]
            closely = self._may_tell(waiting, paths)
            both = zip(waiting, paths, strict=True)
            self._write([self._line(exchange, path, closely=closely) for exchange, path in both])
        else:
            self._write([render(self._fields(exchange)) for exchange in waiting])

    def _tick(self) -> None:
        self._asked = False
        self.flush()

    def _may_tell(self, waiting: list[ExchangeRecord], paths: list[bytes]) -> bool:
        """Tell whether one of these paths, all that a peer fills freely, begins to spell a secret of its line.

        All at once: there are few connections in a batch, and to look through one text of 64 paths takes less than to
        look 64 times.
        """
        text = b"\n".join(paths)
        connections = {each.connection: each for each in waiting if each.secrets is not None}
        return any(self._tells(each.connection, each.secrets, text) for each in connections.values() if each.secrets)

    def _tells(self, connection: str, secrets: tuple[bytes, ...], text: bytes) -> bool:
        # `replace` tells in 40 ns what `in` needs 200 for.
        return any(text.replace(beginning, b"") != text for beginning in self._of(connection, secrets).beginnings)

    def _line(self, exchange: ExchangeRecord, path: bytes, *, closely: bool) -> bytes:
        stamp = int(exchange.ended_at * 1000)
        if stamp != self._milliseconds:
            self._milliseconds = stamp
            self._stamp = timestamp(stamp / 1000).encode()
        method = exchange.method
        secrets = exchange.secrets
        if (
            method not in _WELL_KNOWN
            or len(path) > _PLAIN_PATH
            or path.translate(None, _PLAIN)
            or secrets is None
            or (closely and self._tells(exchange.connection, secrets, path))
        ):
            if method not in _WELL_KNOWN:
                method = _escaped(self._mask(method, exchange))
            path = _escaped(self._mask(path, exchange))
        token = exchange.seconds_token
        return _LINE % (
            exchange.connection.encode(),
            method,
            path,
            exchange.status,
            exchange.attempts,
            b"true" if exchange.renewed else b"false",
            exchange.seconds_total * 1000,
            exchange.seconds_upstream * 1000,
            b"%.3f" % (token * 1000) if token else b"0",
            exchange.bytes_in,
            exchange.bytes_out,
            exchange.request_id.encode(),
            self._stamp,
        )

    def _fields(self, exchange: ExchangeRecord) -> dict[str, Field]:
        """Return the same fields for the renderer of a terminal, the ones a human looks for first."""
        return {
            "event": "exchange",
            "connection": exchange.connection,
            "method": _text(self._mask(exchange.method, exchange)),
            "path": _text(self._mask(exchange.path, exchange)),
            "status": exchange.status,
            "attempts": exchange.attempts,
            "renewed": exchange.renewed,
            "ms_total": round(exchange.seconds_total * 1000, 3),
            "ms_upstream": round(exchange.seconds_upstream * 1000, 3),
            "ms_token": round(exchange.seconds_token * 1000, 3),
            "bytes_in": exchange.bytes_in,
            "bytes_out": exchange.bytes_out,
            "request_id": exchange.request_id,
            "level": "info",
            "timestamp": timestamp(exchange.ended_at),
        }

    def _mask(self, text: bytes, exchange: ExchangeRecord) -> bytes:
        secrets = exchange.secrets
        return self._redact(text) if secrets is None else masked(text, self._of(exchange.connection, secrets).look)

    def _of(self, connection: str, secrets: tuple[bytes, ...]) -> _Known:
        known = self._known.get(connection)
        if known is None or known.secrets is not secrets:
            whole = _spellings(secret for secret in secrets if type(secret) is bytes)
            earlier = _spellings(secret for secret in secrets if type(secret) is not bytes)
            # What holds a code or an escape is looked at closely anyway.
            plain = (form for form in (*whole, *earlier) if not form.translate(None, _PLAIN))
            beginnings = tuple({form[:SHORTENED] for form in plain})
            known = self._known[connection] = _Known(secrets, beginnings, look_for(whole, earlier))
        return known


def _spellings(secrets: Iterable[bytes]) -> set[bytes]:
    return {form for secret in secrets for form in (secret, *forms(secret.decode("utf-8", "replace")))}


def _text(raw: bytes) -> str:
    """Return what a peer wrote, already masked, as text of bounded size; Latin-1, so that no byte is lost."""
    return clamp(raw.decode("latin-1"))


def _escaped(raw: bytes) -> bytes:
    return json.dumps(_text(raw))[1:-1].replace("\x7f", "\\u007f").encode()
