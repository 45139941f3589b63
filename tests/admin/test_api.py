import json

import pytest

from proxy.admin.ports import ReloadReport
from proxy.admin.status import ConnectionStatus

CRM = ConnectionStatus(
    "crm",
    iclient="acme",
    grant_type="authorization_code",
    state="authorization_required",
    redirect_url="http://127.0.0.1:7489/oauth/callback/acme",
    authorize_url="/oauth/start/crm",
    can_authorize=True,
)


@pytest.fixture
async def local(admin):
    await admin.start()
    admin.running.statuses.update(
        crm=CRM, plain=ConnectionStatus("plain"), broken=ConnectionStatus("broken", state="none")
    )
    return admin


async def post(admin, path, content=None):
    if content is None:
        return await admin.ask(path, method=b"POST")
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    fields = (b"Content-Type: application/json", b"Content-Length: %d" % len(body))
    return await admin.ask(path, *fields, method=b"POST", body=body)


def content(response):
    assert response.status == 200
    assert response.values(b"content-type") == [b"application/json"]
    return json.loads(response.body)


async def test_the_list_says_what_to_register_and_where_an_authorization_begins(local):
    crm, plain, _ = content(await local.ask(b"/api/connections"))

    assert (crm["redirect_url"], crm["authorize_url"]) == (CRM.redirect_url, "/oauth/start/crm")
    assert (plain["redirect_url"], plain["authorize_url"]) == (None, None)


async def test_a_revocation_answers_with_a_code_for_each_token(local):
    assert content(await post(local, b"/api/connections/crm/revoke")) == {
        "outcomes": ["refresh_token: ok", "access_token: ok"]
    }
    assert local.running.revoked == ["crm"]


async def test_a_test_answers_with_what_the_upstream_said(local):
    expected = {"status": 200, "good": True, "detail": "That is a good answer.", "ms": 41.6}

    assert content(await post(local, b"/api/connections/crm/test")) == expected
    assert content(await post(local, b"/api/connections/plain/test")) == expected


async def test_a_program_begins_an_authorization_and_brings_back_the_redirected_url(local):
    begun = content(await post(local, b"/api/connections/crm/authorize"))
    assert begun["authorization_url"].startswith("https://auth.example.com/authorize?state=state-1")

    url = f"{CRM.redirect_url}?code=c&state=state-1\n"
    redeemed = content(await post(local, b"/api/connections/crm/redeem", {"url": url, "session": begun["session"]}))

    assert (redeemed["name"], redeemed["state"]) == ("crm", "valid")
    # By the name in its redirect URL, as if it had come there.
    assert local.running.finished == [("acme", "code=c&state=state-1", (begun["session"],))]


@pytest.mark.case("A-331", "A-332", "A-343")
async def test_what_can_not_be_redeemed_is_refused_with_its_code(local):
    async def redeem(query, session):
        url = f"{CRM.redirect_url}?{query}"
        return await post(local, b"/api/connections/crm/redeem", {"url": url, "session": session})

    for _ in range(2):
        await post(local, b"/api/connections/crm/authorize")

    unknown = await redeem("code=canary-code&state=canary-state", "session-of-flow-1")
    assert (unknown.status, unknown.code) == (400, "invalid_state")
    foreign = await redeem("code=c&state=state-1", "session-of-flow-2")
    assert (foreign.status, foreign.code, foreign.problem()["origin"]) == (400, "session_mismatch", "downstream")
    down = await redeem("code=down&state=state-2", "session-of-flow-2")
    assert (down.status, down.code, down.problem()["origin"]) == (502, "exchange_failed", "authorization_server")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"{}", b'{"url": "http://localhost"}', b'{"url": 1, "session": "s"}', b"[" * 9999],
)
async def test_a_body_that_is_not_what_it_should_be_is_refused(local, body):
    refused = await post(local, b"/api/connections/crm/redeem", body)

    assert (refused.status, refused.code) == (400, "bad_request")
    assert local.running.finished == []


async def test_what_was_pasted_may_be_no_url_at_all(local):
    refused = await post(local, b"/api/connections/crm/redeem", {"url": "http://[", "session": "s" * 20})

    assert (refused.status, refused.code) == (400, "bad_request")


async def test_a_device_authorization_answers_with_its_code(local):
    assert content(await post(local, b"/api/connections/crm/device")) == {
        "user_code": "WDJB-MJHT",
        "verification_uri": "https://auth.example.com/device",
        "verification_uri_complete": None,
        "expires_in": 900.0,
    }


async def test_a_reload_answers_with_what_changed_or_why_nothing_did(local):
    assert content(await post(local, b"/api/reload")) == {"applied": True, "changed": ["crm"], "faults": []}

    local.running.report = ReloadReport(applied=False, faults=("a.yaml:1:2: no",))
    assert content(await post(local, b"/api/reload")) == {"applied": False, "changed": [], "faults": ["a.yaml:1:2: no"]}


@pytest.mark.parametrize("action", [b"renew", b"revoke", b"test", b"authorize", b"device"])
async def test_every_refusal_is_a_problem_with_its_connection(local, action):
    refused = await post(local, b"/api/connections/broken/" + action)

    assert (refused.status, refused.code, refused.problem()["connection"]) == (503, "client_rejected", "broken")


@pytest.mark.parametrize("action", [b"renew", b"revoke", b"authorize", b"device", b"redeem"])
async def test_what_needs_a_token_is_not_done_without_one(local, action):
    assert (await post(local, b"/api/connections/plain/" + action)).code == "no_route"
    assert (await post(local, b"/api/connections/nobody/" + action)).code == "no_route"


@pytest.mark.case("A-345", "A-355")
@pytest.mark.parametrize(
    "path",
    [
        b"/api/connections/crm/renew", b"/api/connections/crm/revoke", b"/api/connections/crm/test",
        b"/api/connections/crm/authorize", b"/api/connections/crm/redeem", b"/api/connections/crm/device",
        b"/api/reload", b"/quitquitquit",
    ],
)  # fmt: skip
async def test_nothing_is_done_by_a_link_or_by_the_script_of_a_page(local, path):
    assert (await local.ask(path)).status == 405
    for field in (b"Origin: http://localhost", b"Cookie: a=b", b"Sec-Fetch-Site: same-origin"):
        assert (await local.ask(path, field, method=b"POST")).code == "cross_site"
    running = local.running
    assert not any((running.renewed, running.revoked, running.tested, running.started, running.quits))
