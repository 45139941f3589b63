"""The whole story, once: no surface shows a canary, each is searched by eyes that were seen to see."""

import json

import pytest
import pytest_asyncio

from tests.secrets.cast import FAULTS, WHERE_THEY_BELONG
from tests.secrets.story import told
from tests.support.canaries import Scanner, assert_free

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def story(tmp_path_factory):
    return await told(tmp_path_factory.mktemp("story"))


@pytest.mark.case("S-301", "S-303", "S-305", "S-306", "S-307", "S-308", "S-309", "S-310", "S-316", "S-317", "S-322")
async def test_no_surface_shows_a_secret_in_any_dress(story):
    assert len(story.surfaces) > 80

    for name, data in story.surfaces.items():
        assert_free(story.words.scanner, name, data, story.words.control)


async def test_the_story_happened(story):
    """What was searched holds what it should: every grant, every fault, asyncio's lines, crashes, faulty reloads."""
    process = story.process
    renewed = {line["connection"] for line in process.logged("renewal", outcome="ok")}
    failed = {
        line["connection"]: line["code"] for line in process.events if line["event"] == "renewal" and "code" in line
    }

    assert renewed >= {
        "cc",
        "query",
        "password",
        "jwt",
        "asserted",
        "ready",
        "refresh",
        "exchange",
        "templated",
        "code",
        "device",
    }
    assert failed.keys() >= set(FAULTS)
    assert any("took" in line["message"] for line in process.logged("library", logger="asyncio"))
    assert {line["event"] for line in process.events if "error" in line} >= {"renewal", "admin_page_failed", "library"}
    assert len(process.logged("reload", outcome="rejected")) >= 5
    assert len(process.logged("exchange")) > 100
    assert story.surfaces["the store"]


async def test_every_secret_was_in_use_and_arrived_where_it_belongs(story):
    seen = "\n".join(story.servers.seen).encode()
    arrived = {hit.name for hit in story.words.scanner.scan(seen)}

    assert arrived >= WHERE_THEY_BELONG


@pytest.mark.case("S-324")
async def test_what_shows_a_secret_because_it_was_asked_to_does(story):
    """The exceptions, by name: were one of them silent, the search would not see what it should."""
    shown = {name: {hit.name for hit in story.words.scanner.scan(data)} for name, data in story.shown.items()}

    assert sorted(shown) == [
        "/api/…/authorize: URL and session",
        "/oauth/start: state in the URL, session in the cookie",
        "token cc --format json",
        "token cc --format text",
    ]
    assert all(shown.values())
    # No redirect that we make holds a secret but the state of the authorization that begins there.
    assert shown["/oauth/start: state in the URL, session in the cookie"] == {"state", "cookie"}


@pytest.mark.case("S-325")
async def test_nothing_that_is_ours_may_be_cached(story):
    own = [each for each in story.answers if each.values(b"proxy-status")]
    pages = [
        data for name, data in story.surfaces.items() if name.startswith(("the page", "POST", "a page", "a callback"))
    ]

    assert len(own) > 10
    assert all(each.values(b"cache-control") == [b"no-store"] for each in own)
    assert len(pages) > 40
    assert all(b"(b'Cache-Control', b'no-store')" in page for page in pages)


@pytest.mark.case("S-310")
async def test_own_answers_hold_nothing_of_what_upstreams_and_servers_said(story):
    for each in story.answers:
        if each.values(b"proxy-status") and each.body.startswith(b"{") and b"iclient-proxy:problem" in each.body:
            content = json.loads(each.body)
            assert not {"X-Told", "<h1>", "is not JSON"} & set(content["detail"].split())
            assert "?" not in content["detail"]


@pytest.mark.case("S-308")
async def test_metrics_name_nothing_that_a_request_brought(story):
    text = story.surfaces["the page /metrics"]
    brought = Scanner([story.words.control])

    assert b'requests_total{connection="cc",code="200"}' in text
    assert b"127.0.0.1" not in text
    assert brought.scan(text) == []


@pytest.mark.case("S-317")
async def test_no_file_is_left_that_nobody_asked_for(story):
    assert story.surfaces["temporary files"] == b"[]"
    left = {
        path.name
        for path in story.folder.rglob("*")
        if path.suffix in (".tmp", ".swp", ".pyc", ".bak") or "~" in path.name
    }
    assert left == set()
