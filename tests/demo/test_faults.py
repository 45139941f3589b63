"""`demo --faults` over the real process: each fault does what it says, and is counted."""

import asyncio
import hashlib
import json
import os
import signal
import sys
from contextlib import asynccontextmanager

import httpx
import pytest

from proxy.demo.faults import FAULTS, NAMES
from tests.cli.command import ROOT, iclient_proxy
from tests.support.deadline import awaiting, eventually


class Served:
    """One fault of a running demo, as a client with the right secret."""

    def __init__(self, told, client):
        [fault] = told["faults"]
        self.name = fault["name"]
        self.refresh_token = fault.get("refresh_token")
        self.secret = told["client_secret"]
        self._told, self._fault, self._client = told, fault, client

    async def token(self, in_body=False, auth=None, **fields):
        names = {"client_id": self._told["client_id"], "client_secret": self._told["client_secret"]}
        form = {"grant_type": self._fault["grant_type"], **fields, **(names if in_body else {})}
        auth = auth or (None if in_body else tuple(names.values()))
        return await self._client.post(self._fault["token_url"], data=form, auth=auth)

    async def issued(self, **fields):
        return (await self.token(**fields)).json()["access_token"]

    async def ask(self, token, method="GET", content=None):
        url = f"{self._fault['api_url']}/items/1"
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return await self._client.request(method, url, headers=headers, content=content)

    async def statuses(self, token, count):
        return [(await self.ask(token)).status_code for _ in range(count)]

    async def counts(self):
        return (await self._client.get(self._told["counts"])).json()[self.name]

    async def has(self, what, count):
        return (await self.counts())[what] >= count

    async def reset(self):
        return (await self._client.post(self._told["reset"])).json()[self.name]


@asynccontextmanager
async def serving(name, *options, environment=None):
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "proxy", "demo", "--faults", name, "--format", "json", *options),
        stdout=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **(environment or {})},
    )
    try:
        async with awaiting("where the faults are served"):
            told = json.loads(await running.stdout.readline())
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(trust_env=False, timeout=30, limits=limits) as client:
            yield Served(told, client)
        running.send_signal(signal.SIGINT)
        async with awaiting("the end of the demo"):
            assert (await running.wait(), await running.stdout.read()) == (0, b"")
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()


async def test_without_a_fault_every_token_is_good_and_bodies_are_told_by_their_digest():
    async with serving("no-fault") as served:
        one, other = await served.issued(), await served.issued(in_body=True)
        answers = [await served.ask(token, "POST", b"some body") for token in (one, other)]
        refused = [(await served.ask(token)).status_code for token in ("", "made-up")]
        counts = await served.counts()

    assert [answer.json()["sha256"] for answer in answers] == [hashlib.sha256(b"some body").hexdigest()] * 2
    assert refused == [401, 401]
    assert counts == {
        "token_requests": 2,
        "token_outcomes": {"issued": 2},
        "api_requests": 4,
        "api_outcomes": {"accepted": 2, "no_token": 1, "unknown_token": 1},
    }


async def test_a_revoked_token_is_refused_after_three_good_requests_and_the_next_one_is_good():
    async with serving("revoked-token") as served:
        first, second = await served.issued(), await served.issued()
        seen = await served.statuses(first, 5), await served.statuses(second, 5)
        counts = await served.counts()

    assert seen == ([200, 200, 200, 401, 401], [200] * 5)
    assert counts["api_outcomes"] == {"accepted": 8, "revoked": 2}


async def test_a_token_that_was_got_ahead_of_time_does_not_hide_the_fault():
    async with serving("revoked-token") as served:
        await served.issued()
        seen = await served.statuses(await served.issued(), 4)

    assert seen == [200, 200, 200, 401]


async def test_concurrent_refusals_leave_only_when_all_requests_are_there():
    async with serving("concurrent-refusals") as served:
        token = await served.issued()
        before = await served.ask(token)
        under_way = [asyncio.create_task(served.ask(token), name=f"request {number}") for number in range(63)]
        await eventually("63 requests more at the API", lambda: served.has("api_requests", 64))
        waiting = not any(task.done() for task in under_way)
        last = await served.ask(token)
        refused = [(await task).status_code for task in under_way]
        good = await served.ask(await served.issued())

    assert (before.status_code, waiting, last.status_code, good.status_code) == (200, True, 401, 200)
    assert refused == [401] * 63


async def test_one_token_answer_is_empty():
    async with serving("empty-200") as served:
        empty, good = await served.token(), await served.token()
        counts = await served.counts()

    assert (empty.status_code, empty.content) == (200, b"")
    assert good.json()["access_token"]
    assert counts["token_outcomes"] == {"empty": 1, "issued": 1}


async def test_token_answers_may_have_no_lifetime():
    async with serving("no-expires-in") as served:
        answer = (await served.token()).json()
        seen = await served.statuses(answer["access_token"], 2)

    assert set(answer) == {"access_token", "token_type"}
    assert seen == [200, 200]


@pytest.mark.parametrize(
    ("name", "status", "error", "outcome"),
    [
        ("endpoint-500", 500, "server_error", "server_error"),
        ("endpoint-400", 400, "invalid_client", "invalid_client"),
    ],
)
async def test_a_token_endpoint_that_fails_goes_on_failing(name, status, error, outcome):
    async with serving(name) as served:
        answers = [await served.token() for _ in range(3)]
        counts = await served.counts()

    assert [(answer.status_code, answer.json()["error"]) for answer in answers] == [(status, error)] * 3
    assert counts["token_outcomes"] == {outcome: 3}


async def test_the_first_token_request_is_slow_and_holds_nobody_else_up():
    async with serving("slow-at-start") as served:
        first = asyncio.create_task(served.issued(), name="the slow one")
        await eventually("the first token request at the endpoint", lambda: served.has("token_requests", 1))
        second = await served.issued()
        waiting = not first.done()
        seen = [(await served.ask(token)).status_code for token in (await first, second)]

    assert waiting
    assert seen == [200, 200]


async def test_a_post_is_refused_after_its_body_was_read():
    body = os.urandom(1024 * 1024)
    async with serving("refused-post") as served:
        first, second = await served.issued(), await served.issued()
        seen = [await served.ask(first), await served.ask(first, "POST", body), await served.ask(second, "POST", body)]

    assert [answer.status_code for answer in seen] == [200, 401, 200]
    assert seen[2].json()["sha256"] == hashlib.sha256(body).hexdigest()


async def test_a_body_in_chunks_is_read_as_well():
    async def pieces():
        for _ in range(3):
            yield b"piece"

    async with serving("no-fault") as served:
        answer = await served.ask(await served.issued(), "POST", pieces())

    assert answer.json()["sha256"] == hashlib.sha256(b"piecepiecepiece").hexdigest()


async def test_a_refusal_may_be_a_200_with_an_error_in_its_body():
    async with serving("error-200") as served:
        first, second = await served.issued(), await served.issued()
        seen = [await served.ask(token) for token in (first, first, first, first, second)]

    assert [answer.status_code for answer in seen] == [200] * 5
    assert [answer.json()["ok"] for answer in seen] == [True, True, True, False, True]


async def test_events_come_in_pieces_of_a_stream():
    async with serving("sse") as served:
        answer = await served.ask(await served.issued())

    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.text == "data: first\n\ndata: second\n\n"


async def test_refresh_tokens_rotate_and_a_burnt_one_loses_the_grant():
    async with serving("abort-rotation") as served:
        first = (await served.token(refresh_token=served.refresh_token)).json()
        seen = await served.statuses(first["access_token"], 2)
        second = (await served.token(refresh_token=first["refresh_token"])).json()
        alive = await served.counts()
        burnt = await served.token(refresh_token=first["refresh_token"])
        after = await served.token(refresh_token=second["refresh_token"])
        lost = await served.counts()

    assert seen == [200, 401]
    assert (alive["grant"], lost["grant"]) == ("alive", "lost")
    assert [(answer.status_code, answer.json()["error"]) for answer in (burnt, after)] == [(400, "invalid_grant")] * 2
    assert lost["token_outcomes"] == {"issued": 2, "invalid_grant": 2}


async def test_who_is_not_the_client_or_wants_another_grant_is_told_and_counted():
    async with serving("sse") as served:
        wrong = await served.token(auth=("demo-app", "wrong"))
        other = await served.token(grant_type="password")
        counts = await served.counts()

    assert other.json()["error_description"] == "this fault wants grant_type=client_credentials"
    assert wrong.status_code == 401
    assert counts["token_outcomes"] == {"unknown_client": 1, "unsupported_grant_type": 1}


async def test_all_begins_anew_after_a_reset():
    async with serving("empty-200") as served:
        before = [await served.token(), await served.token()]
        zero = await served.reset()
        again = await served.token()

    assert [bool(answer.content) for answer in (*before, again)] == [False, True, False]
    assert zero["token_requests"] == 0


async def test_tokens_live_as_long_as_is_said_and_the_secret_may_be_given():
    async with serving(
        "no-fault", "--expires-in", "7", environment={"DEMO_CLIENT_SECRET": "a-secret-of-mine"}
    ) as served:
        answer = (await served.token()).json()

    assert answer["expires_in"] == 7
    assert served.secret == "a-secret-of-mine"


async def test_the_list_says_what_each_fault_does_and_what_should_be_seen(tmp_path):
    told = await iclient_proxy("demo", "--faults", "list", cwd=tmp_path)
    as_json = await iclient_proxy("demo", "--faults", "list", "--format", "json", cwd=tmp_path)

    assert [fault["name"] for fault in json.loads(as_json.out)] == list(NAMES)
    for fault in FAULTS:
        assert fault.name in told.out
        assert fault.good.split()[0] in told.out


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (["--faults", "revoked"], "`iclient-proxy demo --faults list` says what they do"),
        (["--faults"], "`demo --faults list` tells"),
        (["sse"], "did you mean `iclient-proxy demo --faults sse`?"),
    ],
)
async def test_a_name_that_makes_no_sense_is_told_with_its_remedy(words, remedy, tmp_path):
    done = await iclient_proxy("demo", *words, cwd=tmp_path)

    assert done.status == 2
    assert done.err.strip().endswith(remedy)
