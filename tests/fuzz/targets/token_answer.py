"""What a token endpoint answers: a token that may go into a header, or a failure; never an exception."""

from __future__ import annotations

import json
import math
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from proxy.definitions.load import load
from proxy.oauth.failure import Failure
from proxy.oauth.response import LONGEST_TOKEN, EndpointAnswer, Issued, read
from tests.fuzz.targets import Target

if TYPE_CHECKING:
    from proxy.definitions.models import IClient

_LIMIT: Final = 4096
_NOW: Final = 1_767_323_045.0
_STATUSES: Final = (200, 200, 200, 201, 400, 401, 302, 429, 500, 204)
_TYPES: Final = (
    "application/json",
    "application/json; charset=utf-8",
    "application/x-www-form-urlencoded",
    "text/html",
    "",
    "text/plain",
)
_CODINGS: Final = ("", "gzip", "deflate", "br", "identity", "GZIP, gzip")


@cache
def _iclient() -> IClient:
    definition = {
        "connections": {
            "acme": {
                "base_url": "https://api.acme.com",
                "iclient": {
                    "grant_type": "client_credentials",
                    "token_url": "https://acme.com/t",
                    "client_id": "id",
                    "client_secret": {"env": "S"},
                },
            }
        }
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "f.yaml"
        file.write_text(json.dumps(definition), encoding="utf-8")
        [connection] = load([file], {"S": "secret"}).definitions.connections
    assert connection.iclient is not None
    return connection.iclient


def check(data: bytes) -> None:
    """Take three bytes for status, type and coding, and the rest for the body."""
    status, kind, coding, body = *(data + b"\0\0\0")[:3], data[3:]
    headers = (
        ("content-type", _TYPES[kind % len(_TYPES)]),
        ("content-encoding", _CODINGS[coding % len(_CODINGS)]),
        ("retry-after", body[:12].decode("latin-1")),
        ("date", body[12:44].decode("latin-1")),
        ("location", body[:80].decode("latin-1")),
    )
    answer = EndpointAnswer(_STATUSES[status % len(_STATUSES)], headers, body)
    found = read(answer, _iclient(), limit=_LIMIT, now=_NOW)
    assert read(answer, _iclient(), limit=_LIMIT, now=_NOW) == found
    if isinstance(found, Failure):
        assert found.said.isascii()
        assert found.said == "" or found.said.isprintable()
        assert len(found.said) <= 120
        assert found.retry_after is None or math.isfinite(found.retry_after)
        return
    _held(found, answer)


def _held(found: Issued, answer: EndpointAnswer) -> None:
    token = found.access_token.reveal()
    assert 0 < len(token) <= LONGEST_TOKEN
    assert token.isascii()
    assert token.isprintable()
    assert token == token.strip()
    assert 200 <= answer.status < 300
    assert found.lifetime is None or math.isfinite(found.lifetime)
    assert len(token) < 24 or token not in repr(found)  # a short one may be a word of its own
    if found.refresh_token is not None:
        assert 0 < len(found.refresh_token.reveal()) <= LONGEST_TOKEN
    if answer.header("content-encoding") in {"", "identity"}:
        said = _second_opinion(answer.body)
        assert said is None or said == token, "another reader finds another token"


def _second_opinion(body: bytes) -> Any:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found.get("access_token") if isinstance(found, dict) else None


_BODIES: Final = (
    b'{"access_token": "abc", "token_type": "Bearer", "expires_in": 3600}',
    b"access_token=abc&expires_in=3600&token_type=bearer",
    b'{"error": "invalid_grant", "error_description": "no"}',
    b'{"access_token": "a\\r\\nX: y"}',
    b'{"access_token": "a", "access_token": "b"}',
    b'{"access_token": {"a": 1}}',
    b'{"access_token": "abc", "expires_in": "1e400"}',
    b'{"access_token": "abc", "expires_in": NaN}',
    b"[]",
    b"null",
    b'"abc"',
    b"<html>",
    b"\xef\xbb\xbf{}",
    b"[" * 2000,
    b'{"access_token":"\\u00e9"}',
    b'{"error": "", "access_token": "x"}',
    b"access_token=a%0d%0ab",
    b"access_token=a&access_token=b",
    b'{"access_token": "abc", "refresh_token": 5, "scope": "a b"}',
    b"",
    b'{"access_token": "abc", "token_type": "DPoP"}',
    b"\x1f\x8b\x08\x00",
    b"Wed, 21 Oct 2015 07:28:00 GMT, and more of it than a date",
)
TARGET: Final = Target(
    "never raises; a token fits a header line; numbers are finite; what is said is short and printable; json agrees",
    check,
    tuple(
        bytes([status, kind, coding]) + body
        for body in _BODIES
        for status, kind, coding in ((0, 0, 0), (4, 2, 0), (1, 3, 1))
    ),
)
