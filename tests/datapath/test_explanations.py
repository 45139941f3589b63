"""A recorded response is judged by the classifier of the data path, in whatever form it was kept."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import brotli
import pytest
import yaml
from rich.console import Console

from proxy.cli.explain_response import explained, show
from proxy.cli.failures import InputError, UsageError, tell
from proxy.definitions.load import load
from proxy.definitions.models import Connection
from proxy.definitions.settings import Limits
from proxy.exchange.classify import Classifier
from proxy.exchange.inspection import Bounds
from proxy.exchange.policy import Next
from proxy.exchange.recorded import RecordedError, parse_recorded
from proxy.exchange.verdict import Explanation, explain
from tests.support.scripts import OK_BODY, replies
from tests.support.stage import Case

BOUNDS = Bounds(64 * 1024, 256 * 1024, 2.0)
BODY = b'{"error": {"code": "EXPIRED"}}'
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
RULES = [{"name": "body", "path": "error.code", "values": "EXPIRED"}]


def connection(folder: Path, auth_errors: Any = None, **written: Any) -> Connection:
    """Return the connection that the loader makes of these rules."""
    iclient = {
        "grant_type": "client_credentials",
        "token_url": "https://auth.example/t",
        "client_id": "a",
        "client_secret": {"env": "SECRET"},
        "valid_domains": ["auth.example"],
    }
    rules = {"auth_errors": auth_errors} if auth_errors is not None else {}
    file = folder / "f.yaml"
    content = {"connections": {"a": {"base_url": "https://api.example", "iclient": iclient, **rules, **written}}}
    file.write_text(yaml.safe_dump(content))
    return load([file], {"SECRET": "canary"}).definitions.connections[0]


def judged(folder: Path, data: bytes, auth_errors: Any = None, **written: Any) -> Explanation:
    made = connection(folder, auth_errors, **written)
    return explain(Classifier(made.auth_errors), made.replay, BOUNDS, parse_recorded(data))


def head(*lines: bytes) -> bytes:
    return b"\r\n".join((*lines, b"", b""))


JSON = b"Content-Type: application/json"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(head(b"HTTP/1.1 400 Bad Request", JSON, b"Content-Length: %d" % len(BODY)) + BODY, id="raw"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n" + JSON + b"\r\n" + CHUNKED, id="raw-chunked"),
        pytest.param(head(b"HTTP/1.1 400 Bad Request", JSON, b"Transfer-Encoding: chunked") + BODY, id="curl-chunked"),
        pytest.param(head(b"HTTP/2 400 ", JSON.lower()) + BODY, id="curl-http2"),
        pytest.param(head(b"HTTP/3 400", JSON.lower()) + BODY, id="curl-http3"),
        pytest.param(head(b"HTTP/1.0 400 No", JSON) + BODY, id="http-1.0"),
        pytest.param(
            (head(b"HTTP/1.1 400 Bad", JSON, b"Content-Length: %d" % len(BODY)) + BODY + b"\n").replace(b"\r", b""),
            id="an-editors-line-ends",
        ),
        pytest.param(b"\xef\xbb\xbf\r\n" + head(b"HTTP/1.1 400 Bad", JSON) + BODY, id="bom"),
        pytest.param(
            head(b"HTTP/1.1 100 Continue") + head(b"HTTP/1.1 103 Early", b"Link: a") + head(b"HTTP/1.1 400 A") + BODY,
            id="interim",
        ),
        pytest.param(head(b"HTTP/1.1 302 Found", b"Location: /a") + head(b"HTTP/2 400") + BODY, id="curl-followed"),
        pytest.param(
            head(b"HTTP/1.1 200 Connection established") + head(b"HTTP/1.1 400 A") + BODY, id="curl-through-a-proxy"
        ),
        pytest.param(head(b"HTTP/1.1 400 A", b"Content-Encoding: gzip") + gzip.compress(BODY), id="gzip"),
        pytest.param(head(b"HTTP/2 400", b"content-encoding: br") + brotli.compress(BODY), id="br"),
        pytest.param(head(b"HTTP/2 400", b"content-encoding: br") + BODY, id="curl-compressed"),
    ],
)
def test_a_response_is_read_in_every_form_in_which_it_is_kept(tmp_path: Path, data: bytes):
    assert judged(tmp_path, data, RULES).rule == "body"


def test_what_is_understood_otherwise_than_it_stands_is_told(tmp_path: Path):
    found = judged(tmp_path, head(b"HTTP/2 400", b"content-encoding: br") + BODY, RULES)

    assert found.notes == ("the body was recorded decoded, so its Content-Encoding is passed over",)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        BODY,
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 42 A\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"\x00" * 100,
        b"HTTP/1.1 100 A\r\n\r\n" * 100,
    ],
)
def test_what_is_no_response_is_refused(tmp_path: Path, data: bytes):
    with pytest.raises(RecordedError):
        parse_recorded(data)
    (tmp_path / "r.http").write_bytes(data)
    with pytest.raises(InputError) as refused:
        explained(connection(tmp_path), Limits(), tmp_path / "r.http")
    assert tell(refused.value) == 65


def test_a_file_that_can_not_be_read_is_a_fault_of_usage(tmp_path: Path):
    with pytest.raises(UsageError) as refused:
        explained(connection(tmp_path), Limits(), tmp_path / "nowhere")

    assert tell(refused.value) == 2


def reasons(found: Explanation) -> dict[str, str]:
    return {reason.name: reason.why for reason in found.reasons}


def test_every_rule_says_why_it_does_not_match(tmp_path: Path):
    rules = {
        "any": [
            {"name": "status", "status": 403},
            {"name": "challenge", "www_authenticate": "invalid_token"},
            {"name": "path", "path": "errors.code"},
            {"name": "value", "path": "error.code", "values": ["A", "B*"]},
            {"name": "container", "path": "error", "values": ["A"]},
            {"name": "nothing", "path": "note"},
            {"name": "xml", "path": "//a"},
        ],
        "never": [{"name": "spared", "status": 500}],
    }
    data = head(b"HTTP/1.1 400 A", b'WWW-Authenticate: Bearer error="other"') + BODY[:-1] + b', "note": null}'

    found = judged(tmp_path, data, rules)

    assert (found.rule, found.body) == (None, "JSON")
    assert set(found.ways.values()) == {Next.RELAY}
    assert reasons(found) == {
        "spared": "its status is not 400",
        "status": "its status is not 400",
        "challenge": "no challenge has its error; found: 'other'",
        "path": "its path leads nowhere in this body",
        "value": "at error.code stands 'EXPIRED'",
        "container": "at error stands a list or an object",
        "nothing": "what stands at its path says nothing",
        "xml": "its path leads nowhere in this body",
    }


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (head(b"HTTP/1.1 400 A", b"Content-Type: image/png") + BODY, "its media type is none of JSON, XML or text"),
        (head(b"HTTP/1.1 400 A", b"Content-Type: text/event-stream") + BODY, "it is a stream of events"),
        (head(b"HTTP/1.1 400 A", b"Content-Length: 70000") + BODY, "it is larger than limits.inspect_raw"),
        (head(b"HTTP/1.1 400 A") + b"[" * 70_000, "it is larger than limits.inspect_raw"),
        (head(b"HTTP/1.1 400 A") + b"[" * 100 + b"]" * 100, "it is nested more than 64 levels deep"),
        (head(b"HTTP/1.1 400 A") + b"<a/>", "no rule asks for a body of its kind"),
        (head(b"HTTP/1.1 204 A"), "there is no body"),
        (head(b"HTTP/1.1 400 A", b"Content-Encoding: zz") + b"\x00", "its content coding is unknown"),
    ],
)
def test_a_body_that_is_not_read_has_its_reason(tmp_path: Path, data: bytes, said: str):
    found = judged(tmp_path, data, RULES)

    assert found.rule is None
    assert found.body.startswith("not read: " + said)
    assert reasons(found)["body"].startswith("the body was not read: " + said)


def test_a_broken_body_has_its_reason_too(tmp_path: Path):
    found = judged(tmp_path, head(b"HTTP/1.1 400 A") + BODY[:-1], RULES)

    assert found.rule is None
    assert reasons(found)["body"] == "the body was not read: it is neither well-formed JSON nor XML"


def test_what_follows_depends_on_the_method_where_a_refusal_comes_as_200(tmp_path: Path):
    found = judged(tmp_path, head(b"HTTP/1.1 200 OK") + BODY, RULES)

    assert found.ways == {"GET": Next.REPLAY, "POST": Next.RELAY_AND_RENEW}


def test_a_head_that_decides_leaves_the_body_alone(tmp_path: Path):
    found = judged(tmp_path, head(b"HTTP/1.1 401 A") + BODY, RULES)

    assert (found.rule, found.body) == ("status-401", "not looked at: the head decides")


def test_a_challenge_that_asks_for_more_rights_is_told(tmp_path: Path):
    found = judged(tmp_path, head(b"HTTP/1.1 401 A", b'WWW-Authenticate: Bearer error="insufficient_scope"'))

    assert found.rule is None
    assert "insufficient_scope" in found.notes[0]


@pytest.mark.parametrize("rules", [RULES, [{"path": "error.code", "values": "OTHER"}], [{"status": 400}]])
def test_people_and_machines_are_told_the_same(tmp_path: Path, rules: Any):
    (tmp_path / "r.http").write_bytes(head(b"HTTP/1.1 400 A") + BODY)

    content = explained(connection(tmp_path, rules), Limits(), tmp_path / "r.http")
    console = Console(width=200, record=True, quiet=False, file=(tmp_path / "out").open("w"))
    show(content, console)
    text = console.export_text()
    console.file.close()

    assert json.loads(json.dumps(content)) == content
    assert f"400: {'an auth error' if content['auth_error'] else 'no auth error'}" in text
    assert all(rule["rule"] in text and rule["why"] in text for rule in content["rules"])


SWAPPED = [
    ([{"path": "error.code", "values": "EXPIRED"}], True),
    ([{"path": "error.code", "values": "OTHER"}], False),
    ({"any": [{"path": "error.code", "values": "EXP*"}], "never": [{"name": "n", "status": 400}]}, False),
    ({"any": [{"status": 400}], "never": [{"name": "n", "path": "error.code", "values": "EXPIRED"}]}, False),
    ({"any": [{"status": 400}], "never": [{"name": "n", "path": "error.code", "values": "OTHER"}]}, True),
]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("rules", "is_error"),
    [
        pytest.param(*each, marks=pytest.mark.connection(auth_errors=each[0]), id=str(number))
        for number, each in enumerate(SWAPPED)
    ],
)
async def test_a_rule_that_is_swapped_changes_the_data_path_and_the_explanation_alike(
    case: Case, tmp_path: Path, rules: Any, is_error: bool
):
    raw = head(b"HTTP/1.1 400 Bad Request", JSON, b"Content-Length: %d" % len(BODY)) + BODY
    case.upstream.answers(replies(raw))
    answered = await case.ask(case.request())

    found = judged(tmp_path, raw, rules)

    assert (answered.body == OK_BODY) == (case.token_requests == 2) == (found.rule is not None) == is_error
