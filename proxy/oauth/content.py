"""Turns the bytes of a token endpoint's answer into a document: JSON or form, strict about what is neither. Pure."""

from __future__ import annotations

import json
import re
import zlib
from typing import Final, NoReturn
from urllib.parse import parse_qsl

# More members than any token answer has; parse_qsl would make a list entry for each `&`.
_FORM_FIELDS: Final = 256
_FORM_START: Final = re.compile(r"[\w.%+\[\]-]+=", re.ASCII)
_ESCAPED_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


class ContentError(ValueError):
    """The body can't be read; `code` says why and is all there is to say: a body is never quoted."""

    def __init__(self, code: str) -> None:
        self.code = code
        super().__init__(code)


def decoded(body: bytes, coding: str, limit: int) -> bytes:
    """Undo the content coding, at most `limit` bytes; `coding` is the value of Content-Encoding ("" for none).

    gzip and deflate are understood although identity was asked for. Raises `ContentError`: `token_response_encoding`
    for other codings and broken streams, `token_response_too_large`, `token_response_incomplete`.
    """
    match coding.strip().lower():
        case "" | "identity":
            plain = body
        case "gzip" | "x-gzip":
            plain = _inflated(body, limit, zlib.MAX_WBITS | 16)
        case "deflate":
            # RFC 9110 §8.4.1.2 means the zlib format; some servers send the bare stream.
            wrapped = len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
            plain = _inflated(body, limit, zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)
        case _:
            raise ContentError("token_response_encoding")
    if len(plain) > limit:
        raise ContentError("token_response_too_large")
    return plain


def text(body: bytes) -> str:
    """Return the body as text: UTF-8, with or without a byte order mark. Raises `ContentError`."""
    try:
        content = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ContentError("token_response_malformed") from error
    if "\0" in content:
        raise ContentError("token_response_malformed")  # UTF-16 without a mark
    if not content.strip():
        raise ContentError("token_response_empty")
    return content


def document(content: str, media_type: str) -> object:
    """Return what `content` says: a JSON value, or the fields of a form as a dict of strings.

    The first character decides, not the media type; that only breaks the tie between a form and nothing known.
    Raises `ContentError`: `token_response_malformed`, `token_response_not_json`.
    """
    if content.lstrip()[0] in '{["':
        return _json(content)
    if media_type == "application/x-www-form-urlencoded" or _FORM_START.match(content):
        return _form(content)
    if media_type == "application/json" or media_type.endswith("+json"):
        return _json(content)
    raise ContentError("token_response_not_json")


def _inflated(body: bytes, limit: int, window: int) -> bytes:
    stream = zlib.decompressobj(window)
    try:
        plain = stream.decompress(body, limit + 1)
    except zlib.error as error:
        raise ContentError("token_response_encoding") from error
    if len(plain) > limit:
        raise ContentError("token_response_too_large")
    if not stream.eof:
        raise ContentError("token_response_incomplete")
    if stream.unused_data:
        raise ContentError("token_response_encoding")
    return plain


def _json(content: str) -> object:
    try:
        value: object = json.loads(content, object_pairs_hook=_unique, parse_constant=_no_constant)
        if _ESCAPED_SURROGATE.search(content):
            # Half a pair can't be encoded again; it would surface later, as an exception where the token is used.
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise ContentError("token_response_malformed") from error
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    # Which of two `access_token` counts is a matter of opinion, and opinions differ between parsers (RFC 8259 §4).
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ContentError("token_response_malformed")
    return members


def _no_constant(_name: str) -> NoReturn:
    raise ContentError("token_response_malformed")


def _form(content: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            content.strip(), keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=_FORM_FIELDS
        )
    except ValueError as error:
        raise ContentError("token_response_not_json") from error
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ContentError("token_response_malformed")
    return fields
