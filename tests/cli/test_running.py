"""The verbs that speak to a running proxy, against a running proxy."""

import asyncio
import json
import re

import pytest
import pytest_asyncio

from proxy.cli.status import span, table
from tests.cli.command import iclient_proxy
from tests.support.stage import SECRET, Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory):
    made = Stage({"crm": {}, "broken": {}, "shop": {"required": True}}, {})
    made.tokens.failing.add("broken")
    await made.start(tmp_path_factory.mktemp("running"))
    yield made
    await made.close()


@pytest.fixture
def admin(stage):
    host, port = stage.process.admin
    return f"http://{host}:{port}"


@pytest.fixture
def folder(stage, tmp_path):
    """A folder with the very definitions that the proxy runs on, where the verbs find them."""
    (tmp_path / "iclient-proxy.yaml").write_text(json.dumps(stage.definitions()))
    return tmp_path


async def test_status_shows_every_connection(admin, tmp_path):
    text = await iclient_proxy("status", "--admin", admin, cwd=tmp_path)
    data = await iclient_proxy("status", "--format", "json", environment={"ICLIENT_PROXY_ADMIN": admin}, cwd=tmp_path)

    header, *rows = text.out.splitlines()
    assert header.split()[:2] == ["CONNECTION", "STATE"]
    assert {row.split()[0] for row in rows} == {"crm", "broken", "shop"}
    assert "\x1b" not in text.out
    assert {row["name"]: row["grant_type"] for row in json.loads(data.out)} == dict.fromkeys(
        ["crm", "broken", "shop"], "client_credentials"
    )


async def test_renew_gets_a_new_token_into_the_running_proxy(stage, admin, tmp_path):
    before = stage.tokens.asked.get("crm", 0)

    done = await iclient_proxy("renew", "crm", "--admin", admin, cwd=tmp_path)

    assert (done.status, done.err) == (0, "")
    assert re.fullmatch(r"crm: valid, expires in 59m\n", done.out)
    assert stage.tokens.asked["crm"] == before + 1


async def test_a_renewal_that_fails_says_why_and_ends_with_69(admin, tmp_path):
    done = await iclient_proxy("renew", "broken", "--admin", admin, cwd=tmp_path)

    assert (done.status, done.out) == (69, "")
    assert done.err.startswith("iclient-proxy: There is no access token to send: ")


@pytest.mark.parametrize("name", ["nobody", "a/b", "../../livez", "é"])
async def test_to_renew_a_connection_that_is_not_there_ends_with_2(name, admin, tmp_path):
    done = await iclient_proxy("renew", name, "--admin", admin, cwd=tmp_path)

    assert (done.status, done.out) == (2, "")


async def test_health_tells_alive_from_ready(stage, admin, tmp_path):
    assert (await iclient_proxy("health", "--admin", admin, cwd=tmp_path)).status == 0
    waiting = await iclient_proxy("health", "--ready", "--admin", admin, cwd=tmp_path)
    assert (waiting.status, waiting.err) == (69, "iclient-proxy: not ready\n")

    assert (await iclient_proxy("renew", "shop", "--admin", admin, cwd=tmp_path)).status == 0
    ready = await iclient_proxy("health", "--ready", "--admin", admin, cwd=tmp_path)
    assert (ready.status, ready.out) == (0, "ready\n")


async def test_token_asks_the_authorization_server_itself_and_prints_nothing_else(stage, folder):
    before = stage.tokens.asked.get("crm", 0)

    text = await iclient_proxy("token", "crm", environment={"CLIENT_SECRET": SECRET}, cwd=folder)
    data = await iclient_proxy("token", "crm", "--format", "json", environment={"CLIENT_SECRET": SECRET}, cwd=folder)

    assert (text.status, text.out, text.err) == (0, f"canary-token-crm-{before + 1}\n", "")
    content = json.loads(data.out)
    assert (content["connection"], content["access_token"]) == ("crm", f"canary-token-crm-{before + 2}")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", content["expires_at"])


async def test_a_token_that_is_not_to_be_had_leaves_standard_output_empty(folder):
    done = await iclient_proxy("token", "broken", environment={"CLIENT_SECRET": SECRET}, cwd=folder)

    assert (done.status, done.out) == (69, "")
    assert "iclient-proxy: There is no access token to send: " in done.err


async def test_an_address_where_something_else_answers_is_no_proxy(tmp_path):
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        done = await iclient_proxy("status", "--admin", url, cwd=tmp_path)

    assert (done.status, done.err) == (
        69,
        f"iclient-proxy: what answers at {url} is not an iclient-proxy (status 403)\n",
    )


@pytest.mark.parametrize(
    ("moment", "said"),
    [
        (None, ""),
        ("2026-01-02T03:04:05Z", "in 0s"),
        ("2026-01-02T03:05:04Z", "in 59s"),
        ("2026-01-02T03:05:05Z", "in 1m"),
        ("2026-01-02T05:04:04Z", "in 1h"),
        ("2026-01-02T03:04:01Z", "4s ago"),
        ("2025-12-30T03:04:05Z", "3d ago"),
    ],
)
async def test_moments_are_told_by_how_far_they_are(moment, said):
    assert span(moment, 1767323045.0) == said


async def test_a_table_marks_what_needs_somebody():
    row = {
        "name": "crm",
        "state": "braked",
        "expires_at": None,
        "last_renewal_at": None,
        "next_action": "retry",
        "next_attempt_at": "2026-01-02T03:09:05Z",
        "last_error": "invalid_client",
    }

    [*columns] = table([row], 1767323045.0).columns

    cells = [next(iter(column.cells)) for column in columns]
    assert [str(cell) for cell in cells] == ["crm", "braked", "-", "-", "retry in 5m", "invalid_client"]
    assert cells[1].style == "red"
