"""Bodies that a rule reads: what it finds at a path is what Python's own parsers find there."""

from __future__ import annotations

import json
import math
from typing import Any, Final

from proxy.definitions.json_path import MISSING, compile_path
from proxy.definitions.models import AuthErrorRule, AuthErrors
from proxy.exchange.classify import OPEN, Classifier, challenge_errors
from proxy.exchange.document import DEPTH_MAX, Found, Unread, UnreadableError, may_be_asked, read_document
from proxy.wire.heads import parse_response
from proxy.wire.response import ResponseHead
from tests.fuzz.targets import Target
from tests.fuzz.targets.request_head import LIMITS

_PATHS: Final = tuple(
    compile_path(text) for text in ("error", "error.code", "a[1].b", "0.x", "$", '["odd.key"]', "errors[0]")
)
_CLASSIFIER: Final = Classifier(
    AuthErrors(
        any=(
            AuthErrorRule(name="code", path="error.code", values=("190", "token_*")),
            AuthErrorRule(name="word", status=((400, 403),), www_authenticate="invalid_token"),
            AuthErrorRule(name="soap", path="//*[local-name()='Fault']/faultcode", values=("x",)),
        ),
        never=(AuthErrorRule(name="spared", path="error", values=("insufficient",)),),
    )
)


def _head() -> ResponseHead:
    head = parse_response(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", LIMITS)
    assert head is not None
    return head


def check(data: bytes) -> None:
    """See the rule."""
    assert all(isinstance(each, bytes) for each in challenge_errors((data,)))
    read = read_document(data, json=True, xml=True)
    verdict = _CLASSIFIER.judge(_head(), read)
    assert verdict is not OPEN, "with a body the verdict is none yet"
    assert verdict in (None, "code", "soap"), verdict
    if isinstance(read, Unread):
        assert verdict is None
        return
    assert may_be_asked(data[:64], json=True, xml=True)
    if read.kind != "JSON":
        return
    for path in _PATHS:
        try:
            found = read.at(path)
        except UnreadableError:
            continue
        _second_opinion(data, path, found)


def _second_opinion(data: bytes, path: Any, found: tuple[Found, ...]) -> None:
    if data[:1] not in (b"{", b"[") or b"\x00" in data:
        return  # UTF-16 and byte order marks are another reader's
    theirs = json.loads(data.decode("utf-8", "replace"), parse_constant=_refuse, parse_int=_Number, parse_float=_Number)
    assert _depth(theirs) <= DEPTH_MAX
    value = path.find(theirs)
    if value is MISSING:
        assert found == (), f"{path.text}: found {found}, json finds nothing"
        return
    assert len(found) == 1, f"{path.text}: found nothing, json finds {value!r}"
    text = _text(value)
    assert text is None or found[0].text == text or "\ufffd" in text, (
        f"{path.text}: {found[0].text!r}, json says {text!r}"
    )
    assert (found[0].text is None) == isinstance(value, dict | list)


class _Number(str):
    """A number as it is written."""

    __slots__ = ()


def _text(value: object) -> str | None:
    """Return what a scalar is compared as; None where it is no scalar or two spellings are good."""
    match value:
        case _Number():
            number = float(value)
            whole = not set(value) & set(".eE")
            return ("0" if value == "-0" else str(value)) if whole else _float(number)
        case str():
            return value
        case True | False | None:
            return json.dumps(value)
        case _:
            return None


def _float(number: float) -> str | None:
    if not math.isfinite(number):
        return None
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)


def _refuse(constant: str) -> Any:
    raise AssertionError(f"{constant} is no JSON")


def _depth(value: object) -> int:
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, dict | list)]:
        depth += 1
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
    return depth


TARGET: Final = Target(
    "a verdict, whatever comes; at a path the value that json finds; nothing deeper than 64",
    check,
    (
        b'{"error": {"code": 190}}',
        b'{"error": "insufficient"}',
        b'{"a": [1, {"b": "token_x"}]}',
        b'[{"x": null}]',
        b'{"odd.key": 1.9e2}',
        b'{"error": {"code": "token_expired"}, "error": 1}',
        b'{"errors": ["\\ud83d\\ude00"]}',
        b"[" * 70 + b"]" * 70,
        b'{"error": -0}',
        b'{"error": 1E400}',
        b'"token"',
        b"<Envelope><Fault><faultcode>x</faultcode></Fault></Envelope>",
        b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
        b"\xef\xbb\xbf{}",
        '{"error": "x"}'.encode("utf-16"),
        '{"error": "x"}'.encode("utf-16-be"),
        b"",
        b"   ",
        b'{"a": "\xff"}',
        b'{"error": "\\u0000"}',
        b'Bearer error="invalid_token", Basic realm="a\\"b", x',
        b'{"error": NaN}',
        b'{"a": 01}',
        b'{"error": 1.0, }',
    ),
)
