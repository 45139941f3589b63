"""What reads bodies never fails on what it is given, holds no more than it may, and is right about depth."""

from __future__ import annotations

import json
from time import process_time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.definitions.json_path import compile_path
from proxy.definitions.models import AuthErrorRule, AuthErrors
from proxy.definitions.xpath import XPath
from proxy.exchange.classify import Classifier, challenge_errors
from proxy.exchange.codings import decoded
from proxy.exchange.document import DEPTH_MAX, Found, Unread, UnreadableError, may_be_asked, read_document
from proxy.exchange.inspection import Bounds, Inspection
from proxy.exchange.json_document import JsonDocument, is_shallow
from proxy.exchange.replay import HeldResponse, ReplayMemory
from proxy.wire.heads import parse_response
from proxy.wire.request import HeadLimits

BODY_RULE = Classifier(AuthErrors(any=(AuthErrorRule(name="a", path="error", values=("x",)),)))
BOUNDS = Bounds(1000, 4000, 1.0)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=30,
)


def held(piece: bytes, *fields: bytes, done: bool) -> HeldResponse:
    head = parse_response(b"\r\n".join((b"HTTP/1.1 200 OK", *fields, b"", b"")), HeadLimits(9999, 9999, 99, 99))
    assert head is not None
    return HeldResponse(head, piece, done=done)


def inspection(response: HeldResponse, memory: ReplayMemory) -> Inspection:
    return Inspection(BODY_RULE, BOUNDS, memory, response, chunked=response.head.fields.chunked, bodiless=False)


def depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


@given(VALUES, st.integers(0, 80), st.booleans())
def test_depth_is_counted_right_whatever_strings_hold(value: object, around: int, ascii_only: bool):
    for _ in range(around):
        value = [value, '"]\\"[{']
    text = json.dumps(value, ensure_ascii=ascii_only).encode()

    assert is_shallow(text) == (depth(value) <= DEPTH_MAX)


@given(VALUES)
def test_every_value_of_json_is_found_in_its_canonical_text(value: object):
    [found] = JsonDocument(json.dumps({"a": [0, value]}).encode()).at(compile_path("a[1]"))

    match value:
        case dict() | list():
            assert found == Found(None, not value)
        case bool() | None:
            assert found == Found(json.dumps(value), not value)
        case str():
            assert found == Found(value, not value)
        case int():
            assert found == Found(str(value), is_empty=False)
        case _:
            assert float(found.text or "") == value


@given(st.binary(max_size=300))
@example(b"<a>&#xD800;</a>")
@example(b'<?xml version="1.0" encoding="big5"?><a/>')
@example(b'{"error": "\\ud800"}')
def test_no_body_makes_a_reader_fail(body: bytes):
    document = read_document(body, json=True, xml=True)
    assert may_be_asked(body, json=True, xml=True)
    if isinstance(document, Unread):
        return
    for path in (compile_path("error[0].a"), compile_path("$"), XPath("//*[local-name()='a']/@b"), XPath("count(//a)")):
        try:
            assert all(isinstance(found, Found) for found in document.at(path))
        except UnreadableError as error:
            assert error.reason is Unread.SYNTAX  # noqa: PT017


@given(st.binary(max_size=300), st.lists(st.sampled_from([b"gzip", b"deflate", b"br", b"zstd", b"x"]), max_size=6))
def test_no_coding_makes_a_decoder_fail_or_grow(body: bytes, codings: list[bytes]):
    try:
        plain = decoded(body, tuple(codings), 10_000)
    except UnreadableError:
        return
    assert len(plain) <= max(10_000, len(body))


def test_a_body_is_held_within_the_memory_for_replays_and_gives_it_back():
    memory = ReplayMemory(100)
    first = held(b"[" + b"1," * 30, b"Content-Length: 900", done=False)
    one = inspection(first, memory)

    assert not one.is_settled()
    assert memory.left == 39
    first.add(b"1," * 10, done=False)
    assert not one.is_settled()
    assert memory.left == 19
    two = inspection(held(b"[" + b"1," * 30, b"Content-Length: 900", done=False), memory)
    assert two.is_settled()
    assert two.document is Unread.MEMORY
    assert two.verdict() is None
    first.add(b"1," * 10, done=False)
    assert one.is_settled()
    assert one.document is Unread.MEMORY
    one.drop()
    assert memory.left == 100


@pytest.mark.parametrize("beginning", [b"", b" \r\n", b"\xef\xbb\xbf", b"\xef", b"{", b'"', b"\xff\xfe{\0", b"1"])
def test_a_beginning_that_may_become_json_is_waited_for(beginning: bytes):
    assert may_be_asked(beginning, json=True, xml=False)


@pytest.mark.parametrize("beginning", [b"<", b"  <html>", b"\xef\xbb\xbf<a/>", b"\xff\xfe<\0"])
def test_a_beginning_of_markup_is_not_waited_for_without_an_xpath(beginning: bytes):
    assert not may_be_asked(beginning, json=True, xml=False)
    assert may_be_asked(beginning, json=False, xml=True)


@pytest.mark.case("P-417")
@pytest.mark.parametrize(
    "value", [b"a" * 4096, b'a="' + b"x" * 4090, b'"' + b'\\"' * 2047, b"a " * 2048, b"a= " * 1365]
)
def test_a_challenge_that_nearly_matches_everywhere_costs_no_more_than_its_length(value: bytes):
    began = process_time()

    assert challenge_errors((value,) * 15) == frozenset()

    assert process_time() - began < 0.3  # a head of 64 KiB took 1.7 s


@pytest.mark.case("P-417")
@pytest.mark.parametrize(
    "value",
    [
        b'Bearer realm="x", error="invalid_token"',
        b"Bearer error=invalid_token",
        b'Basic realm="error=no", Bearer error = "invalid_token", x="never ends, error=no',
        b'Bearer x-error="no", Error="invalid_token"',
    ],
)
def test_an_error_is_found_in_well_formed_and_in_odd_challenges(value: bytes):
    assert challenge_errors((value,)) == {b"invalid_token"}
