"""The admin listener of a real process: what its pages and its API show and do."""

import json

import pytest
import pytest_asyncio

from tests.support.client import Client
from tests.support.scripts import replies, response, unauthorized
from tests.support.stage import SECRET, Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory):
    made = Stage(
        {"crm": {}, "gone": {}, "broken": {}, "picky": {"allowed_paths": ["/v1"]}}, {"limits": {"token_wait": "3s"}}
    )
    made.tokens.failing.add("broken")
    await made.start(tmp_path_factory.mktemp("admin"))
    yield made
    await made.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crm(stage):
    made = await stage.case("crm")
    yield made
    await made.close()


async def ask(stage, path, method=b"GET"):
    client = await Client.connect(stage.process.admin)
    try:
        return await client.ask(b"%b %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % (method, path))
    finally:
        await client.close()


async def outcome(stage, name):
    answered = await ask(stage, b"/api/connections/" + name + b"/test", b"POST")
    assert answered.status == 200
    result = json.loads(answered.body)
    assert result.pop("ms") >= 0
    return result


async def test_a_test_sends_the_ping_of_the_connection_with_its_token(stage, crm):
    crm.upstream.behave()
    crm.upstream.requests.clear()

    assert await outcome(stage, b"crm") == {"status": 200, "good": True, "detail": ""}

    [request] = crm.upstream.requests
    assert request.line == b"GET / HTTP/1.1"
    assert request.values(b"authorization") == [f"Bearer {crm.token()}".encode()]
    assert request.values(b"host") == [b"127.0.0.1:%d" % crm.upstream.port]


async def test_a_test_renews_a_token_that_is_refused_as_any_request_would(stage, crm):
    before = crm.token_requests
    crm.upstream.answers(replies(unauthorized()), replies(response(b"ok")))

    assert (await outcome(stage, b"crm"))["good"]

    assert crm.token_requests == before + 1


async def test_a_status_that_is_not_good_is_said_to_be_so(stage, crm):
    crm.upstream.answers(replies(response(b"canary-words", status=b"500 Oh")))

    assert await outcome(stage, b"crm") == {"status": 500, "good": False, "detail": "Good are 200-399 (ping.status)."}


async def test_of_a_long_response_the_status_is_enough(stage, crm):
    crm.upstream.answers(replies(response(b"x" * 3_000_000)))

    assert (await outcome(stage, b"crm"))["status"] == 200


async def test_what_never_reached_the_upstream_is_told_apart(stage):
    assert await outcome(stage, b"broken") == {
        "status": None,
        "good": False,
        "detail": "There is no access token to send (token_unavailable).",
    }
    assert (await outcome(stage, b"picky"))["detail"].endswith("(not_allowed).")


async def test_the_page_shows_every_connection_and_no_secret(stage, crm):
    await outcome(stage, b"crm")

    for path in (b"/", b"/connections/crm", b"/connections/broken"):
        page = await ask(stage, path)
        assert page.status == 200
        assert SECRET.encode() not in page.body
        assert b"canary-" not in page.body
    overview = (await ask(stage, b"/")).body.decode()
    assert all(f'id="c-{name}"' in overview for name in ("crm", "gone", "broken", "picky"))


async def test_a_reload_says_that_nothing_changed(stage):
    answered = await ask(stage, b"/api/reload", b"POST")

    assert json.loads(answered.body) == {"applied": True, "changed": [], "faults": []}
