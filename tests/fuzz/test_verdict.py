"""A judge that never says no is none: forged outcomes, each with one thing wrong, are all found."""

import pytest

from tests.fuzz import poison, strict, verdict
from tests.fuzz.campaign import Poison
from tests.fuzz.oracles import h11_requests, h11_response, llhttp_requests
from tests.fuzz.poison import Got, Relayed
from tests.fuzz.readings import Rest
from tests.fuzz.verdict import Heard, Outcome, token

HOSTS = {"a": b"127.0.0.1:4001", "b": b"127.0.0.1:4002"}
SENT = b"POST /a/x HTTP/1.1\r\nHost: 127.0.0.1:4000\r\nContent-Length: 2\r\nX: 1\r\n\r\nok"


def forwarded(name="a", *, line=b"POST /x HTTP/1.1", fields=b"Content-Length: 2\r\nX: 1\r\n", body=b"ok", whose=None):
    credential = b"Authorization: Bearer " + token(whose or name) + b"\r\n"
    return line + b"\r\nHost: " + HOSTS[name] + b"\r\n" + fields + credential + b"\r\n" + body


def outcome(data, *, name="a", ended=False, numbered=(0,), got=b"\r\nX-Serial: 0\r\n", sent=SENT):
    return Outcome(sent, (Heard(name, data, ended),), numbered, got, HOSTS)


def test_an_honest_outcome_has_no_fault():
    assert verdict.requests(outcome(forwarded()))[0] == []


@pytest.mark.parametrize(
    "forged",
    {
        "two for one": outcome(forwarded() + forwarded(), numbered=(0, 1)),
        "two for one, both relayed": outcome(
            forwarded() + forwarded(), numbered=(0, 1), got=b"\r\nX-Serial: 0\r\n\r\nX-Serial: 1\r\n"
        ),
        "left over": outcome(forwarded() + b"GET"),
        "left over on a stream given up": outcome(forwarded() + b"GET", ended=True),
        "half a request on a stream that is kept": outcome(forwarded()[:-1], numbered=(), got=b""),
        "no message": outcome(b"nonsense\r\n\r\n", numbered=(), got=b""),
        "the token of another": outcome(forwarded(whose="b")),
        "two tokens": outcome(forwarded(fields=b"Content-Length: 2\r\nX: 1\r\nX: " + token("a") + b"\r\n")),
        "no token": outcome(forwarded().replace(b"Authorization", b"Authorisation")),
        "another Host": outcome(forwarded().replace(HOSTS["a"], HOSTS["b"])),
        "another body": outcome(forwarded(body=b"no")),
        "another framing": outcome(
            forwarded(fields=b"Transfer-Encoding: chunked\r\nX: 1\r\n", body=b"2\r\nok\r\n0\r\n\r\n")
        ),
        "another target": outcome(forwarded(line=b"POST /y HTTP/1.1")),
        "another upstream": outcome(forwarded("b"), name="b"),
        "a field that nobody sent": outcome(forwarded(fields=b"Content-Length: 2\r\nX: 1\r\nY: 1\r\n")),
        "another order": outcome(forwarded(fields=b"X: 1\r\nContent-Length: 2\r\n")),
        "both lengths": outcome(forwarded(fields=b"Content-Length: 2\r\nContent-Length: 2\r\nX: 1\r\n")),
        "a response that went to nobody": outcome(forwarded(), got=b""),
        "a hostile request": outcome(forwarded(), sent=SENT.replace(b"X: 1\r\n", b"X: 1\n")),
    }.items(),
    ids=lambda each: each[0],
)
def test_a_forged_outcome_has_one(forged):
    assert verdict.requests(forged[1])[0] != []


GOOD = b"HTTP/1.1 200 OK\r\nX-Serial: 0\r\nContent-Length: 6\r\n\r\nserved"
OURS = b"HTTP/1.1 502 Bad Gateway\r\nProxy-Status: iclient-proxy; error=x\r\nContent-Length: 2\r\n\r\nno"
THEIRS = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LAST = (Got(GOOD, ended=False, cut=False), 0)


def relayed(first, *, theirs=THEIRS, ended=False, cut=False, later=LAST, end="fin"):
    return Relayed(Poison(poison.ASKED[0], (theirs,), end), Got(first, ended=ended, cut=cut), (later,))


@pytest.mark.parametrize(
    "honest",
    [relayed(THEIRS), relayed(OURS, theirs=b"nonsense"), relayed(THEIRS[:-1], theirs=THEIRS[:-1], cut=True)],
    ids=["relayed", "refused", "cut"],
)
def test_an_honest_response_has_no_fault(honest):
    assert poison.judged(honest) == []


@pytest.mark.parametrize(
    "forged",
    {
        "two for one": relayed(THEIRS + THEIRS),
        "left over": relayed(THEIRS + b"x"),
        "another body": relayed(THEIRS[:-1] + b"x"),
        "another status": relayed(THEIRS.replace(b"200", b"201")),
        "a hidden cut": relayed(THEIRS, theirs=THEIRS[:-1]),
        "a cut that ends as if it were none": relayed(THEIRS[:-1], ended=True),
        "nothing": relayed(b"", ended=True),
        "hostile and relayed": relayed(THEIRS, theirs=THEIRS.replace(b"Length: 2", b"Length: 02")),
        "what is no response": relayed(b"nonsense\r\n\r\n"),
        "the next one gets another's": relayed(THEIRS, later=(LAST[0], 1)),
        "the next one gets nothing": relayed(THEIRS, later=(Got(b"", ended=True, cut=False), 0)),
        "the next one gets two": relayed(THEIRS, later=(Got(GOOD + GOOD, ended=False, cut=False), 0)),
    }.items(),
    ids=lambda each: each[0],
)
def test_a_forged_response_has_one(forged):
    assert poison.judged(forged[1]) != []


@pytest.mark.parametrize("data", [forwarded(), forwarded() * 3, forwarded()[:-1], forwarded() + b"GET"])
def test_the_readers_agree_on_what_is_plain(data):
    assert h11_requests(data) == llhttp_requests(data) or data.endswith(b"GET")
    assert h11_requests(data).messages == llhttp_requests(data).messages == strict.requests(data).messages


@pytest.mark.needs("node")
async def test_node_agrees_on_what_is_plain(node):
    streams = [forwarded(), forwarded() * 3, forwarded()[:-1], forwarded() + b"\x01"]
    responses = [(THEIRS, b"GET", False), (THEIRS[:-1], b"GET", True), (THEIRS + THEIRS, b"GET", False)]

    read, answered = await node.requests(streams), await node.responses(responses)

    assert [each.messages for each in read] == [h11_requests(each).messages for each in streams]
    assert [each.rest for each in read] == [Rest.NOTHING, Rest.NOTHING, Rest.PARTIAL, Rest.FAULT]
    assert answered[0] == h11_response(THEIRS, b"GET", ended=False)
    assert answered[1].messages == ()
    assert answered[2].rest is Rest.FAULT
