"""A token that the upstream refuses: renewed once, the request sent once more, or the upstream's own words relayed."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.deadline import awaiting
from tests.support.scripts import OK_BODY, echoes, replies, replies_early, replies_then_resets, response, unauthorized
from tests.support.stage import Case
from tests.support.upstream import Request

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {"limits": {"replay_memory": "256KiB", "token_wait": "2s", "backoff": {"min": "50ms", "max": "200ms"}}}
NOT_REPLAYABLE = b'iclient-proxy; details="auth-retry-not-replayable"'
LIMIT = 1024


def length(size: int) -> bytes:
    return b"Content-Length: %d" % size


@pytest.mark.case("P-233")
async def test_a_token_that_was_revoked_is_replaced_and_the_application_never_knows(case: Case):
    client = await case.warm()
    case.upstream.refused_tokens.add(case.token(1))
    answered = await client.ask(case.request(b"X-A: 1"))
    assert (answered.status, answered.body) == (200, OK_BODY)
    assert (case.upstream_requests, case.token_requests) == (2, 2)
    assert [request.token for request in case.upstream.requests] == [case.token(1), case.token(2)]


@pytest.mark.case("P-233", "P-237", "D-124")
@pytest.mark.parametrize("method", [b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"FOO"])
@pytest.mark.parametrize("framing", ["none", "length", "chunked"])
async def test_the_replay_is_the_same_request_but_for_the_credential(case: Case, method: bytes, framing: str):
    fields, body = {
        "none": ([], b""),
        "length": ([length(5)], b"hello"),
        "chunked": ([b"Transfer-Encoding: chunked"], b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
    }[framing]
    case.upstream.refused_tokens.add(case.token(1))
    answered = await case.ask(
        case.request(b"X-a: 1", *fields, b"X-A: 2", method=method, target=b"//a%2f?b=%20", body=body)
    )
    assert (answered.status, answered.body) == (200, OK_BODY)
    first, second = case.upstream.requests
    assert second.head == first.head.replace(case.token(1).encode(), case.token(2).encode())
    assert second.raw_body == first.raw_body == body
    assert case.token_requests == 2


@pytest.mark.case("P-233")
async def test_requests_that_are_refused_together_share_one_renewal(case: Case):
    await case.warm()
    case.upstream.refused_tokens.add(case.token(1))
    answers = await asyncio.gather(*(case.ask(case.request()) for _ in range(50)))
    assert {(answered.status, answered.body) for answered in answers} == {(200, OK_BODY)}
    assert case.token_requests == 2
    assert case.upstream_requests <= 100
    assert [request.token for request in case.upstream.requests].count(case.token(2)) == 50


@pytest.mark.case("P-233")
async def test_a_refusal_that_arrives_after_the_renewal_only_replays(case: Case):
    gate = asyncio.Event()
    client, late = await case.warm(), await case.connect()
    case.upstream.answers(replies(gate, unauthorized()))
    await late.send(case.request(target=b"/late"))
    await case.upstream.arrived()
    case.upstream.refused_tokens.add(case.token(1))
    assert (await client.ask(case.request())).status == 200
    assert case.token_requests == 2
    gate.set()
    assert (await late.response()).status == 200
    assert case.token_requests == 2
    assert case.upstream.requests[-1].token == case.token(2)


@pytest.mark.case("P-234")
async def test_an_upstream_that_refuses_every_token_is_relayed_and_not_renewed_again(case: Case):
    challenge = b'Bearer realm="a, b", error="invalid_token"'
    case.upstream.always(replies(unauthorized(challenge)))
    client = await case.connect()
    for number in range(5):
        relayed = await client.ask(case.request())
        assert (relayed.status, relayed.body) == (401, b'{"error": "no"}')
        assert relayed.values(b"www-authenticate") == [challenge]
        assert relayed.values(b"proxy-status") == []
        assert case.upstream_requests == 2 + number
    assert case.token_requests == 2


@pytest.mark.case("P-235", "P-417")
@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(unauthorized(b'Bearer error="insufficient_scope", scope="a"'), id="insufficient-scope"),
        pytest.param(unauthorized(b"Bearer error=insufficient_scope"), id="without-quotes"),
        pytest.param(
            unauthorized(b'Basic realm="x", Bearer realm="y", error="insufficient_scope"'), id="second-challenge"
        ),
        pytest.param(response(b"{}", status=b"403 Forbidden"), id="403"),
        pytest.param(
            response(b"{}", b'WWW-Authenticate: Bearer error="invalid_token"', status=b"403 Forbidden"),
            id="403-challenge",
        ),
        pytest.param(response(b"{}", status=b"400 Bad Request"), id="400"),
        pytest.param(response(b"{}", status=b"429 Too Many Requests"), id="429"),
        pytest.param(response(b"{}", status=b"500 Internal Server Error"), id="500"),
    ],
)
async def test_what_is_no_fault_of_the_token_renews_nothing(case: Case, raw: bytes):
    case.upstream.answers(replies(raw))
    relayed = await case.ask(case.request())
    assert relayed.status == int(raw[9:12])
    assert (case.upstream_requests, case.token_requests) == (1, 1)


@pytest.mark.case("P-235")
@pytest.mark.connection(auth_errors=[{"status": [403]}])
async def test_a_403_renews_where_a_rule_says_so_and_a_401_no_more(case: Case):
    case.upstream.answers(replies(response(b"{}", status=b"403 Forbidden")))
    assert (await case.ask(case.request())).status == 200
    assert (case.upstream_requests, case.token_requests) == (2, 2)
    case.upstream.answers(replies(unauthorized()))
    assert (await case.ask(case.request())).status == 401
    assert (case.upstream_requests, case.token_requests) == (3, 2)


@pytest.mark.case("P-235", "P-417")
@pytest.mark.connection(auth_errors=[{"status": [403], "www_authenticate": "invalid_token"}])
@pytest.mark.parametrize(
    ("challenges", "renews"),
    [
        pytest.param([b'Bearer error="invalid_token"'], True, id="plain"),
        pytest.param([b"Bearer error=invalid_token"], True, id="token"),
        pytest.param([b'Basic realm="a, error=\\"x\\""', b'Bearer error="invalid_token"'], True, id="second-line"),
        pytest.param([b'Basic realm="a", Bearer scope="b c", error="invalid_token"'], True, id="joined"),
        pytest.param([b'Bearer realm="error=\\"invalid_token\\", really"'], False, id="inside-quotes"),
        pytest.param([b'Bearer "error=invalid_token"'], False, id="only-quoted"),
        pytest.param([b'Bearer error="invalid_tokens"'], False, id="longer"),
        pytest.param([b'Bearer error_description="invalid_token"'], False, id="other-parameter"),
        pytest.param([b'\xff\xfe,,,=="\\'], False, id="garbage"),
        pytest.param([b"a" * 8000 + b', Bearer error="invalid_token"'], False, id="beyond-4-KiB"),
        pytest.param([b""], False, id="empty"),
        pytest.param([], False, id="none"),
    ],
)
async def test_a_challenge_is_read_with_tolerance_and_relayed_as_it_came(
    case: Case, challenges: list[bytes], renews: bool
):
    case.upstream.answers(
        replies(response(b"{}", *(b"WWW-Authenticate: " + one for one in challenges), status=b"403 Forbidden"))
    )
    answered = await case.ask(case.request())
    if renews:
        assert (answered.status, case.upstream_requests, case.token_requests) == (200, 2, 2)
    else:
        assert (answered.status, case.upstream_requests, case.token_requests) == (403, 1, 1)
        assert answered.values(b"www-authenticate") == challenges


@pytest.mark.case("P-417")
@pytest.mark.parametrize("challenge", [b"garbage \xff ,,==", b"", b"Bearer " + b"x" * 6000, b'Basic realm="unclosed'])
async def test_an_unreadable_challenge_leaves_the_plain_rule_for_401(case: Case, challenge: bytes):
    case.upstream.answers(replies(unauthorized(challenge)))
    assert (await case.ask(case.request())).status == 200
    assert (case.upstream_requests, case.token_requests) == (2, 2)


@pytest.mark.case("P-236", "D-179")
@pytest.mark.connection(replay={"body_limit": "1KiB"})
@pytest.mark.parametrize(("size", "replays"), [(LIMIT - 1, True), (LIMIT, True), (LIMIT + 1, False)])
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_body_is_kept_for_a_replay_up_to_the_limit(case: Case, size: int, replays: bool, framing: str):
    body = b"x" * size
    if framing == "chunked":
        overhead = len(b"%x\r\n" % size) + 2 + 5
        body = b"x" * (size - overhead)  # what is kept is what was read, framing and all
        raw = case.request(
            b"Transfer-Encoding: chunked", method=b"POST", body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        )
    else:
        raw = case.request(length(size), method=b"POST", body=body)
    case.upstream.refused_tokens.add(case.token(1))
    client = await case.connect()
    answered = await client.ask(raw)
    if replays:
        assert (answered.status, answered.body) == (200, OK_BODY)
        assert [request.body for request in case.upstream.requests] == [body, body]
    else:
        assert (answered.status, answered.body) == (401, b'{"error": "no"}')
        assert answered.values(b"proxy-status") == [NOT_REPLAYABLE]
        assert answered.values(b"www-authenticate") == [b'Bearer error="invalid_token"']
        assert case.upstream_requests == 1
        async with awaiting("the renewal for the next request"):
            await case.stage.tokens.asked_by(case.name, 2)
        assert (await client.ask(case.request())).status == 200
        assert case.upstream.requests[-1].token == case.token(2)
    assert case.token_requests == 2


@pytest.mark.case("P-236")
async def test_a_refusal_in_the_middle_of_the_upload_is_relayed(case: Case):
    case.upstream.answers(replies_early(unauthorized()))
    client = await case.connect()
    await client.send(case.request(length(1_000_000), method=b"POST", body=b"x" * 1000))
    relayed = await client.response("POST")
    assert (relayed.status, relayed.values(b"proxy-status")) == (401, [NOT_REPLAYABLE])
    assert case.upstream_requests == 1
    async with awaiting("the renewal for the next request"):
        await case.stage.tokens.asked_by(case.name, 2)
    assert (await case.ask(case.request())).status == 200
    assert case.upstream.requests[-1].token == case.token(2)


@pytest.mark.case("P-236", "D-168")
async def test_a_refusal_after_an_expectation_was_met_is_relayed(case: Case):
    async def polite(request: Request) -> None:
        await request.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await request.stream.until_size(5)
        await request.send(unauthorized())

    case.upstream.answers(polite)
    client = await case.connect()
    await client.send(case.request(b"Expect: 100-continue", length(1_000_000), method=b"POST"))
    assert (await client.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
    await client.send(b"hello")
    relayed = await client.response("POST")
    assert (relayed.status, relayed.values(b"proxy-status")) == (401, [NOT_REPLAYABLE])
    assert case.upstream_requests == 1


@pytest.mark.case("P-240", "R-368")
@pytest.mark.connection(
    auth_errors={"any": [{"status": [401]}], "never": [{"status": [401], "path": "error", "values": ["keep"]}]}
)
@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_a_refusal_that_breaks_off_while_it_is_read_is_replayed_with_the_token_that_others_got(
    case: Case, method: bytes
):
    others_have_a_token = asyncio.Event()
    begun = b'HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{"error": '
    case.upstream.answers(replies_then_resets(begun, others_have_a_token), replies(unauthorized()))
    client = await case.connect()
    await client.send(case.request(length(5), method=method, body=b"hello"))
    await case.upstream.arrived()
    assert (await case.ask(case.request())).status == 200
    others_have_a_token.set()
    answered = await client.response(method.decode())
    assert (answered.status, answered.body) == (200, OK_BODY)
    assert (case.upstream_requests, case.token_requests) == (4, 2)


@pytest.mark.case("D-180")
@pytest.mark.connection(replay={"body_limit": "200KiB"})
async def test_a_response_that_lasts_holds_none_of_the_memory_for_replays(case: Case):
    large, ends = b"x" * 200 * 1024, asyncio.Event()
    case.upstream.answers(replies(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n1", ends, b"2"))
    lasting = await case.connect()
    await lasting.send(case.request(length(len(large)), method=b"POST", body=large))
    await lasting.read_until(b"\r\n\r\n1")
    case.upstream.refused_tokens.add(case.token(1))
    answered = await case.ask(case.request(length(len(large)), method=b"POST", body=large))
    assert (answered.status, answered.body) == (200, OK_BODY)
    ends.set()
    await lasting.read_until(b"2")
    assert (case.upstream_requests, case.token_requests) == (3, 2)


@pytest.mark.case("P-237")
@pytest.mark.connection(replay={"methods": "idempotent"})
@pytest.mark.parametrize(
    ("method", "replays"),
    [(b"POST", False), (b"PATCH", False), (b"FOO", False), (b"PUT", True), (b"GET", True), (b"DELETE", True)],
)
async def test_the_operator_may_keep_replays_to_idempotent_methods(case: Case, method: bytes, replays: bool):
    case.upstream.refused_tokens.add(case.token(1))
    answered = await case.ask(case.request(length(5), method=method, body=b"hello"))
    assert answered.status == (200 if replays else 401)
    assert case.upstream_requests == (2 if replays else 1)
    assert answered.values(b"proxy-status") == ([] if replays else [NOT_REPLAYABLE])
    async with awaiting("the renewal"):
        await case.stage.tokens.asked_by(case.name, 2)


@pytest.mark.case("P-236", "P-217")
async def test_a_refusal_after_an_interim_response_is_relayed(case: Case):
    case.upstream.answers(replies(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + unauthorized()))
    relayed = await case.ask(case.request())
    assert (relayed.status, relayed.interim) == (401, [103])  # something of the first attempt has been relayed
    assert relayed.values(b"proxy-status") == [NOT_REPLAYABLE]
    assert case.upstream_requests == 1


@pytest.mark.case("P-237")
@pytest.mark.connection(replay={"methods": "never"})
async def test_the_operator_may_forbid_replays(case: Case):
    case.upstream.refused_tokens.add(case.token(1))
    assert (await case.ask(case.request())).status == 401
    async with awaiting("the renewal"):
        await case.stage.tokens.asked_by(case.name, 2)
    assert (await case.ask(case.request())).status == 200
    assert case.upstream_requests == 2


@pytest.mark.case("P-412", "P-233")
async def test_a_refused_head_request_is_replayed(case: Case):
    refused = unauthorized().partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    case.upstream.answers(replies(refused), replies(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"))
    client = await case.connect()
    answered = await client.ask(case.request(method=b"HEAD"))
    assert (answered.status, answered.values(b"content-length"), answered.body) == (200, [b"100"], b"")
    assert (await client.ask(case.request())).status == 200
    assert case.token_requests == 2


@pytest.mark.case("P-233", "D-153")
@pytest.mark.connection(send_token_via={"query": {"name": "tok"}})
async def test_a_refused_token_in_the_query_is_replaced_there(case: Case):
    case.upstream.answers(replies(unauthorized()))
    assert (await case.ask(case.request(target=b"/q?a=1"))).status == 200
    assert [request.target for request in case.upstream.requests] == [
        b"/q?a=1&tok=" + case.token(generation).encode() for generation in (1, 2)
    ]


@pytest.mark.case("P-233")
async def test_when_the_renewal_fails_the_upstreams_refusal_is_relayed(case: Case):
    client = await case.warm()
    case.upstream.refused_tokens.add(case.token(1))
    case.stage.tokens.failing.add(case.name)
    relayed = await client.ask(case.request())
    assert (relayed.status, relayed.body) == (401, b'{"error": "no"}')
    assert relayed.values(b"www-authenticate") == [b'Bearer error="invalid_token"']
    assert case.upstream_requests == 1
    case.stage.tokens.failing.clear()


@pytest.mark.case("P-233")
async def test_a_refused_body_that_never_ends_does_not_hold_the_replay(case: Case):
    async def endless(request: Request) -> None:
        await request.read_body()
        await request.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            await request.send(b"x" * 65_536)

    case.upstream.answers(endless)
    answered = await case.ask(case.request())
    assert (answered.status, answered.body) == (200, OK_BODY)
    async with awaiting("the end of the refused stream"):
        await case.upstream.requests[0].gone()
    assert case.upstream.requests[0].stream.bytes_written < 32 << 20


@pytest.mark.case("D-180")
async def test_bodies_beyond_the_memory_for_replays_are_streamed_and_none_is_refused(case: Case):
    gate = asyncio.Event()
    body, count = b"x" * 65_536, 12

    async def echo_late(request: Request) -> None:
        received = await request.read_body()
        await gate.wait()
        await request.send(unauthorized() if request.token in case.upstream.refused_tokens else response(received))

    await case.warm()
    case.upstream.always(echo_late)
    case.upstream.refused_tokens.add(case.token(1))
    asking = [
        asyncio.create_task(case.ask(case.request(length(len(body)), method=b"POST", body=body))) for _ in range(count)
    ]
    await case.upstream.arrived(count)
    gate.set()
    answers = await asyncio.gather(*asking)
    replayed = [answered for answered in answers if answered.status == 200]
    relayed = [answered for answered in answers if answered.status == 401]
    assert len(replayed) + len(relayed) == count
    assert 1 <= len(replayed) <= 4  # 256 KiB hold four bodies
    assert all(answered.body == body for answered in replayed)
    assert all(answered.values(b"proxy-status") == [NOT_REPLAYABLE] for answered in relayed)
    case.upstream.behave()
    case.upstream.always(echoes)
    # The memory was given back: what was too much then is not now.
    case.upstream.refused_tokens.add(case.token(2))
    case.upstream.answers(replies(unauthorized()))
    assert (await case.ask(case.request(length(len(body)), method=b"POST", body=body))).body == body
