"""The forward listener under requests that mislead: targets that resemble others, bodies that look like requests."""

from __future__ import annotations

import pytest

from tests.datapath.test_forward import application, authority, request
from tests.support.scripts import OK_BODY, response
from tests.support.stage import Case
from tests.support.upstream import Request

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {
    "listeners": {
        "reverse": {"bind": "127.0.0.1:0"},
        "forward": {"bind": "127.0.0.1:0"},
        "admin": {"bind": "127.0.0.1:0"},
    }
}


async def test_a_connect_whose_target_is_a_whole_url_is_refused_also_where_that_url_is_well_known(case: Case):
    client = await application(case)
    assert (await client.ask(request(case))).body == OK_BODY
    seen = case.upstream_requests

    hidden = request(case, target=b"/hidden")
    refused = await client.ask(
        request(case, b"Content-Length: %d" % len(hidden), method=b"CONNECT", target=b"/x") + hidden
    )

    assert (refused.status, refused.code) == (400, "bad_request")
    assert await client.is_closed()
    assert case.upstream_requests == seen


async def test_a_url_without_a_path_is_not_taken_for_one_that_is_shorter_by_a_letter(case: Case):
    client = await application(case)
    assert (await client.ask(request(case))).body == OK_BODY
    assert (await client.ask(request(case, target=b""))).body == OK_BODY
    seen = case.upstream_requests

    longer = b"GET http://%b0 HTTP/1.1" % authority(case)
    refused = await client.ask(case.raw(longer, b"Host: " + authority(case)))

    assert refused.code in {"bad_request", "upstream_refused"}  # a port beyond 65535, or one where nobody listens
    assert case.upstream_requests == seen


async def test_a_name_without_a_path_is_not_taken_for_one_that_is_shorter_by_a_letter(case: Case):
    client = await application(case)
    assert (await client.ask(request(case, host=b"localhost"))).body == OK_BODY
    seen = case.upstream_requests

    port = case.upstream.port
    near = b"GET http://localhost:%d%d HTTP/1.1" % (port // 10, port % 10)
    assert (await client.ask(case.raw(near, b"Host: localhost"))).body == OK_BODY
    assert case.upstream.requests[-1].target == b"/"
    assert case.upstream_requests == seen + 1


async def test_the_body_of_a_request_that_ends_here_is_never_read_as_a_request(case: Case):
    client = await application(case)
    hidden = request(case, target=b"/hidden")
    head = request(case, b"Max-Forwards: 0", b"Content-Length: %d" % len(hidden), method=b"OPTIONS")

    answered = await client.ask(head)
    await client.send(hidden)

    assert answered.status == 200
    assert answered.closes
    assert await client.is_closed()
    assert case.upstream_requests == 0


async def test_a_request_that_ends_here_leaves_its_record(case: Case):
    client = await application(case)
    target = b"/here-%d" % case.upstream.port
    assert (await client.ask(request(case, b"Max-Forwards: 0", method=b"OPTIONS", target=target))).status == 200
    assert (await client.ask(request(case))).body == OK_BODY

    line = await case.stage.process.until_logged("exchange", method="OPTIONS", path=target.decode())
    assert (line["connection"], line["status"]) == ("-", 200)


class SignsStreamsIn:
    """A server that signs in not a request but its stream, as NTLM does: a name, a riddle, its answer."""

    def __init__(self) -> None:
        self.users: dict[int, bytes] = {}

    async def answer(self, request: Request) -> None:
        stream = request.stream.number
        [credential] = request.values(b"authorization") or [b""]
        if credential == b"NTLM name":
            self.users[stream] = b""
            await request.send(response(b"", b"WWW-Authenticate: NTLM riddle", status=b"401 Unauthorized"))
            return
        if credential.startswith(b"NTLM answer-of-") and self.users.get(stream) == b"":
            self.users[stream] = credential.removeprefix(b"NTLM answer-of-")
        user = self.users.get(stream)
        if user:
            await request.send(response(user))
        else:
            await request.send(response(b"", b"WWW-Authenticate: NTLM", status=b"401 Unauthorized"))


async def test_a_stream_that_one_application_has_signed_in_on_serves_no_other(case: Case):
    case.upstream.always(SignsStreamsIn().answer)

    def asking(*fields: bytes) -> bytes:
        return request(case, *fields, host=b"localhost")

    clients = {user: await application(case) for user in (b"alice", b"bob")}
    stranger = await application(case)
    for client in clients.values():
        assert (await client.ask(asking(b"Authorization: NTLM name"))).status == 401
    for user, client in clients.items():
        answered = await client.ask(asking(b"Authorization: NTLM answer-of-" + user))
        assert (answered.status, answered.body) == (200, user)
    for _ in range(3):
        assert (await stranger.ask(asking())).status == 401
        for user, client in clients.items():
            assert (await client.ask(asking())).body == user


@pytest.mark.parametrize("forwards", [b"9" * 6000, b"0" * 6000, b"1" + b"0" * 20])
async def test_a_count_of_hops_beyond_all_reason_is_refused(case: Case, forwards: bytes):
    refused = await (await application(case)).ask(request(case, b"Max-Forwards: " + forwards, method=b"OPTIONS"))

    assert (refused.status, refused.code) == (400, "bad_request")
    assert case.upstream_requests == 0
