import re
import subprocess
import sys
from dataclasses import replace

import pytest

from proxy.admin.ports import Event
from proxy.admin.status import ConnectionStatus
from tests.support.running import NOW

CRM = ConnectionStatus(
    "crm",
    iclient="acme",
    grant_type="authorization_code",
    state="valid",
    expires_at=NOW + 3661,
    last_renewal_at=NOW - 60,
    redirect_url="http://127.0.0.1:7489/oauth/callback/acme",
    can_revoke=True,
    can_authorize=True,
)
BROWSER = (b"Origin: http://localhost", b"Sec-Fetch-Site: same-origin", b"Sec-Fetch-Mode: navigate")


@pytest.fixture
async def local(admin):
    await admin.start()
    admin.running.statuses.update(crm=CRM, plain=ConnectionStatus("plain"))
    return admin


async def press(admin, path, *fields, form=b"", ticket=None):
    """Send the form of a page as a browser does; `ticket` in place of the page's own."""
    if ticket is None:
        page = (await admin.ask(b"/")).body
        ticket = re.search(rb'name="ticket" value="([^"]+)"', page)[1]
    body = b"ticket=" + ticket + form
    fields = (
        b"Content-Type: application/x-www-form-urlencoded",
        b"Content-Length: %d" % len(body),
        *(fields or BROWSER),
    )
    return await admin.ask(path, *fields, method=b"POST", body=body)


def location(response):
    assert response.status == 303
    return response.values(b"location")[0]


@pytest.mark.case("A-336", "A-356")
@pytest.mark.parametrize(
    "path", [b"/", b"/connections/crm", b"/connections/nobody", b"/oauth/done/crm", b"/assets/x.js"]
)
async def test_every_page_forbids_all_but_its_own_parts(local, path):
    page = await local.ask(path)

    assert page.values(b"content-type") == [b"text/html; charset=utf-8"]
    [policy] = page.values(b"content-security-policy")
    allowed = dict(part.strip().split(b" ", 1) for part in policy.split(b";"))
    assert allowed.pop(b"default-src") == b"'none'"
    assert allowed.pop(b"frame-ancestors") == b"'none'"
    assert set(allowed.values()) <= {b"'self'", b"'none'"}
    assert page.values(b"x-frame-options") == [b"DENY"]
    assert page.values(b"referrer-policy") == [b"same-origin"]
    assert page.values(b"cache-control") == [b"no-store"]
    assert page.values(b"x-content-type-options") == [b"nosniff"]


async def test_every_part_of_a_page_comes_from_here(local):
    for path, depth in ((b"/", b""), (b"/connections/crm", b"../")):
        page = (await local.ask(path)).body
        parts = set(re.findall(rb'(?:src|href)="([^"]*assets[^"]*)"', page))
        assert {part.removeprefix(depth + b"assets/") for part in parts} == {b"admin.css", b"admin.js", b"icon.svg"}
        assert not re.search(rb'(?:src|href|action)="(?:https?:)?//', page)
        assert b"style=" not in page
    for name, media in (
        (b"admin.css", b"text/css"),
        (b"admin.js", b"text/javascript"),
        (b"icon.svg", b"image/svg+xml"),
    ):
        part = await local.ask(b"/assets/" + name)
        assert (part.status, part.values(b"content-type")[0].partition(b";")[0]) == (200, media)
        assert b"url(" not in part.body


@pytest.mark.case("A-355")
@pytest.mark.parametrize(
    "path",
    [b"/assets/", b"/assets/../admin.css", b"/assets/admin.html", b"/assets/..%2fserver.py", b"/assets/a/admin.css"],
)
async def test_no_other_file_is_served(local, path):
    assert (await local.ask(path)).status == 404


async def test_the_page_says_what_there_is_to_know(local):
    local.running.statuses["crm"] = replace(CRM, last_error="transport", warnings=("Only in memory.",))
    local.running.happened["crm"] = [Event(NOW - 60, "renewed", "By refresh token.")]

    for path in (b"/", b"/connections/crm"):
        page = (await local.ask(path)).body.decode()
        for words in ("valid", "in 1 h 1 min", "1 min ago", "transport", "Only in memory.", "By refresh token."):
            assert words in page
    assert CRM.redirect_url in page


@pytest.mark.case("A-356")
async def test_what_is_shown_is_escaped(local):
    canary = "<script>alert(1)</script>\"'"
    local.running.statuses["crm"] = replace(
        CRM, last_error=canary, warnings=(canary,), redirect_url=canary, iclient=canary, grant_type=canary
    )
    local.running.happened["crm"] = [Event(NOW, canary, canary)]

    for path in (b"/", b"/connections/crm"):
        page = (await local.ask(path)).body
        assert b"<script>alert" not in page
        assert b"&lt;script&gt;alert" in page


@pytest.mark.case("A-356")
@pytest.mark.parametrize("path", [b"/", b"/connections/crm", b"/connections/canary-a", b"/oauth/done/canary-b"])
async def test_nothing_of_the_request_comes_back(local, path):
    page = await local.ask(
        path + b"?note=canary-c&x=canary-d", b"X-Forwarded-Host: canary-e", b"Referer: http://canary-f/"
    )

    assert b"canary" not in page.body


async def test_a_thousand_events_of_one_connection_are_cut_to_fifty(local):
    local.running.happened["crm"] = [Event(NOW - number, "renewed") for number in range(1000)]

    for path in (b"/", b"/connections/crm"):
        assert (await local.ask(path)).body.count(b'class="kind"') == 50


@pytest.mark.parametrize(
    ("action", "done", "words"),
    [
        (b"renew", "renewed", "The token was renewed."),
        (b"revoke", "revoked", "refresh_token: ok, access_token: ok"),
        (b"test", "tested", "The API answered with 200 after 42 ms."),
    ],
)
async def test_a_button_does_its_work_and_the_page_after_it_says_so_once(local, action, done, words):
    pressed = await press(local, b"/connections/crm/" + action, form=b"&came=list")

    assert getattr(local.running, done) == ["crm"]
    where = location(pressed)
    assert re.fullmatch(rb"\.\./\.\./\?note=[A-Za-z0-9_-]+#c-crm", where)
    following = where.removeprefix(b"../..").partition(b"#")[0]
    assert words in (await local.ask(following)).body.decode()
    assert words not in (await local.ask(following)).body.decode()


async def test_a_button_leads_back_to_the_page_it_was_on(local):
    where = location(await press(local, b"/connections/crm/renew", form=b"&came=connection"))

    assert where.startswith(b"../crm?note=")
    assert b"The token was renewed." in (await local.ask(b"/connections/crm?" + where.partition(b"?")[2])).body


@pytest.mark.case("A-341")
async def test_a_button_leads_nowhere_else(local):
    for came in (b"https://evil.example", b"//evil.example", b"connection%0d%0aX: y"):
        assert location(await press(local, b"/connections/crm/renew", form=b"&came=" + came)).startswith(
            b"../../?note="
        )


async def test_what_fails_is_said_on_the_page(local):
    local.running.statuses["broken"] = ConnectionStatus("broken", state="braked")

    where = location(await press(local, b"/connections/broken/renew", form=b"&came=list"))

    page = (await local.ask(where.removeprefix(b"../..").partition(b"#")[0])).body
    assert b"The authorization server rejects this client. the client is rejected" in page


async def test_a_connection_without_token_can_only_be_tested(local):
    await press(local, b"/connections/plain/renew")
    await press(local, b"/connections/plain/revoke")
    await press(local, b"/connections/plain/test")

    assert (local.running.renewed, local.running.revoked, local.running.tested) == ([], [], ["plain"])


@pytest.mark.case("A-345")
@pytest.mark.parametrize("ticket", [b"", b"x", b"9999999999." + b"a" * 64])
async def test_a_button_that_is_not_ours_does_nothing(local, ticket):
    refused = await press(local, b"/connections/crm/revoke", ticket=ticket)

    assert refused.status == 403
    assert b"Nothing was done" in refused.body
    assert local.running.revoked == []


@pytest.mark.case("A-345")
async def test_a_page_that_lay_open_for_days_does_nothing(local):
    page = (await local.ask(b"/")).body
    ticket = re.search(rb'name="ticket" value="([^"]+)"', page)[1]
    local.clock.now += 86401

    assert (await press(local, b"/connections/crm/renew", ticket=ticket)).status == 403
    assert local.running.renewed == []


@pytest.mark.case("A-345", "A-350")
@pytest.mark.parametrize(
    "fields",
    [
        (b"Origin: https://evil.example",),
        (b"Origin: null",),
        (b"Origin: http://localhost:3000", b"Sec-Fetch-Site: same-site"),
        (b"Sec-Fetch-Site: cross-site", b"Sec-Fetch-Mode: navigate", b"Sec-Fetch-Dest: document"),
    ],
)
async def test_even_with_the_ticket_no_foreign_page_presses_a_button(local, fields):
    refused = await press(local, b"/connections/crm/revoke", *fields)

    assert (refused.status, refused.code) == (403, "cross_site")
    assert local.running.revoked == []


async def test_a_button_is_not_pressed_by_a_link(local):
    for path in (b"/connections/crm/renew", b"/connections/crm/revoke", b"/connections/crm/test"):
        assert (await local.ask(path)).status == 405
    assert local.running.renewed == []


async def test_a_head_shows_nothing_and_uses_nothing_up(local):
    where = location(await press(local, b"/connections/crm/renew", form=b"&came=connection"))
    target = b"/connections/crm?" + where.partition(b"?")[2]

    assert (await local.ask(target, method=b"HEAD")).body == b""
    assert b"The token was renewed." in (await local.ask(target)).body


async def test_a_body_without_end_is_refused(local):
    refused = await press(local, b"/connections/crm/renew", form=b"&x=" + b"x" * 70_000)

    assert (refused.status, refused.code) == (400, "bad_request")
    assert local.running.renewed == []


def test_a_proxy_whose_page_nobody_opens_does_not_load_what_renders_it():
    program = "import sys, proxy.runtime.run, proxy.admin.server; print({'jinja2', 'markupsafe'} & set(sys.modules))"

    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert ran.stdout == "set()\n"


async def test_without_a_connection_the_page_says_so(admin):
    await admin.start()

    assert b"The definitions name no connection." in (await admin.ask(b"/")).body
