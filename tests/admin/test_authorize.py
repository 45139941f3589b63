import re

import pytest

from proxy.admin.ports import AuthorizationError, DeviceStarted
from proxy.admin.status import ConnectionStatus
from tests.support.running import NOW

ARRIVES = (b"Sec-Fetch-Mode: navigate", b"Sec-Fetch-Dest: document")
FROM_ELSEWHERE = (b"Sec-Fetch-Site: cross-site", *ARRIVES)
BY_ITS_USER = (b"Sec-Fetch-Site: none", *ARRIVES)


def interactive(name="crm", redirect_url="http://localhost/oauth/callback/acme", **settings):
    return ConnectionStatus(
        name, iclient="acme", grant_type="authorization_code", state="authorization_required",
        redirect_url=redirect_url, can_authorize=True, **settings,
    )  # fmt: skip


@pytest.fixture
async def local(admin):
    await admin.start()
    admin.running.statuses.update(crm=interactive(), plain=ConnectionStatus("plain"))
    return admin


def location(response):
    assert response.status == 303
    return response.values(b"location")[0].decode()


async def begun(admin, name=b"crm", *cookies):
    """Start an authorization as the user of a browser does; return the state and the cookie it got."""
    started = await admin.ask(b"/oauth/start/" + name, *BY_ITS_USER, *cookies)
    state = re.search(r"state=([^&]+)", location(started))[1].encode()
    [cookie] = started.values(b"set-cookie")
    return state, b"Cookie: " + cookie.partition(b";")[0]


async def test_a_start_sends_the_browser_on_with_the_cookie_of_its_flow(local):
    started = await local.ask(b"/oauth/start/crm", *BY_ITS_USER)

    assert location(started).startswith("https://auth.example.com/authorize?state=state-1")
    assert started.values(b"set-cookie") == [
        b"iclient_proxy_flow=session-of-flow-1; Path=/; Max-Age=600; HttpOnly; SameSite=Lax"
    ]
    assert started.values(b"cache-control") == [b"no-store"]
    assert started.values(b"referrer-policy") == [b"same-origin"]


@pytest.mark.case("A-332")
async def test_on_https_the_cookie_is_bound_to_host_and_transport(admin):
    await admin.start(public_url="https://ops.example.com")
    admin.running.statuses["crm"] = interactive(redirect_url="https://ops.example.com/oauth/callback/acme")
    admin.host = b"ops.example.com"

    started = await admin.ask(b"/oauth/start/crm", *BY_ITS_USER)
    assert started.values(b"set-cookie")[0].startswith(b"__Host-iclient_proxy_flow=session-of-flow-1; Path=/;")
    assert started.values(b"set-cookie")[0].endswith(b"; Secure")
    plain = await admin.ask(
        b"/oauth/callback/acme?state=state-1&code=c", b"Cookie: iclient_proxy_flow=session-of-flow-1"
    )
    assert plain.status == 400


@pytest.mark.case("A-345")
@pytest.mark.parametrize(
    "fields",
    [
        FROM_ELSEWHERE,
        (b"Sec-Fetch-Site: same-site", *ARRIVES),  # another port of this machine
        (),  # a browser that does not say
    ],
)
async def test_another_page_can_only_lead_to_a_page_with_the_link(local, fields):
    page = await local.ask(b"/oauth/start/crm", *fields)

    assert page.status == 200
    assert page.values(b"set-cookie") == []
    assert local.running.started == []
    link = re.search(rb'href="(crm\?go=[0-9a-f.]+)"', page.body)[1]
    assert location(await local.ask(b"/oauth/start/" + link)).startswith("https://auth.example.com/")
    assert local.running.started == ["crm"]


@pytest.mark.case("A-345")
@pytest.mark.parametrize(
    "fields",
    [
        (b"Sec-Fetch-Site: cross-site", b"Sec-Fetch-Mode: no-cors", b"Sec-Fetch-Dest: image"),
        (b"Sec-Fetch-Site: cross-site", b"Sec-Fetch-Mode: navigate", b"Sec-Fetch-Dest: iframe"),
        (b"Sec-Fetch-Site: cross-site",),
        (b"Origin: https://evil.example",),
    ],
)
async def test_a_part_of_another_page_reaches_nothing(local, fields):
    for path in (b"/oauth/start/crm", b"/oauth/callback/acme?state=x&code=y", b"/oauth/done/crm"):
        refused = await local.ask(path, *fields)
        assert (refused.status, refused.code) == (403, "cross_site")
    assert (local.running.started, local.running.finished) == ([], [])


@pytest.mark.case("A-345")
async def test_the_link_of_one_connection_starts_no_other_and_not_for_long(local):
    local.running.statuses["erp"] = interactive("erp")
    page = await local.ask(b"/oauth/start/crm")
    go = re.search(rb"go=([0-9a-f.]+)", page.body)[1]

    assert (await local.ask(b"/oauth/start/erp?go=" + go)).status == 200
    local.clock.now += 601
    assert (await local.ask(b"/oauth/start/crm?go=" + go)).status == 200
    assert local.running.started == []


@pytest.mark.case("A-341", "A-346")
async def test_no_request_says_where_the_browser_goes(local):
    fields = (b"X-Forwarded-Host: evil.example", b"X-Forwarded-Proto: https", b"Forwarded: host=evil.example")

    for query in (b"?return_to=https://evil.example", b"?next=//evil.example&redirect_uri=https://evil.example"):
        started = await local.ask(b"/oauth/start/crm" + query, *BY_ITS_USER, *fields)
        assert "evil" not in location(started)


async def test_a_start_elsewhere_first_goes_to_the_origin_of_the_redirect_url(local):
    port = local.address[1]
    local.running.statuses["crm"] = interactive(redirect_url=f"http://127.0.0.1:{port}/oauth/callback/acme")

    there = location(await local.ask(b"/oauth/start/crm", *BY_ITS_USER, host=b"localhost:%d" % port))

    assert re.fullmatch(rf"http://127\.0\.0\.1:{port}/oauth/start/crm\?go=[0-9a-f.]+", there)
    assert local.running.started == []
    # By then the browser calls it cross-site: the way from localhost to 127.0.0.1 is one between sites.
    target = there.removeprefix(f"http://127.0.0.1:{port}").encode()
    started = await local.ask(target, *FROM_ELSEWHERE, host=b"127.0.0.1:%d" % port)
    assert location(started).startswith("https://auth.example.com/")
    assert started.values(b"set-cookie") != []


async def test_a_proxy_in_front_that_rewrites_host_makes_no_circle(admin):
    await admin.start(public_url="https://ops.example.com")
    admin.running.statuses["crm"] = interactive(redirect_url="https://ops.example.com/oauth/callback/acme")

    there = location(await admin.ask(b"/oauth/start/crm", *BY_ITS_USER))
    onward = await admin.ask(there.removeprefix("https://ops.example.com").encode(), *BY_ITS_USER)

    assert location(onward).startswith("https://auth.example.com/")


@pytest.mark.parametrize(
    ("redirect_url", "host"),
    [
        ("http://LOCALHOST:80/oauth/callback/acme", b"localhost"),
        ("https://ops.example.com/oauth/callback/acme", b"ops.example.com:443"),
        ("https://ops.example.com/under/oauth/callback/acme", b"OPS.example.com"),
    ],
)
async def test_the_same_origin_in_another_spelling_is_the_same(admin, redirect_url, host):
    await admin.start(public_url="https://ops.example.com")
    admin.running.statuses["crm"] = interactive(redirect_url=redirect_url)

    assert location(await admin.ask(b"/oauth/start/crm", *BY_ITS_USER, host=host)).startswith("https://auth")


async def test_a_redirect_url_that_is_not_ours_is_left_to_the_one_who_registered_it(local):
    local.running.statuses["crm"] = interactive(redirect_url="https://oauth.tool.example/oauth/callback/x")

    started = await local.ask(b"/oauth/start/crm", *BY_ITS_USER)

    assert started.status == 409
    assert b"authorize crm --paste" in started.body
    assert local.running.started == []


async def test_what_needs_nobody_is_not_started(local):
    for name in (b"plain", b"nobody"):
        assert (await local.ask(b"/oauth/start/" + name, *BY_ITS_USER)).status == 404
    assert local.running.started == []


async def test_a_start_that_is_refused_says_why(local):
    local.running.statuses["broken"] = interactive("broken")

    refused = await local.ask(b"/oauth/start/broken", *BY_ITS_USER)

    assert (refused.status, refused.values(b"set-cookie")) == (503, [])
    assert b"the client is rejected" in refused.body


async def test_a_device_grant_shows_its_code(local):
    local.running.statuses["tv"] = ConnectionStatus("tv", iclient="tv", grant_type="device_code", can_authorize=True)

    page = await local.ask(b"/oauth/start/tv", *BY_ITS_USER)

    assert page.status == 200
    for words in (b"WDJB-MJHT", b'href="https://auth.example.com/device"', b"15 min"):
        assert words in page.body


# The way back


@pytest.mark.case("A-342")
async def test_a_callback_from_another_site_ends_on_a_page_without_code_and_state(local):
    state, cookie = await begun(local)

    back = await local.ask(b"/oauth/callback/acme?code=canary-code&state=" + state, *FROM_ELSEWHERE, cookie)

    assert location(back) == "../done/crm"
    assert local.running.finished == [
        ("acme", f"code=canary-code&state={state.decode()}", ("session-of-flow-1",)),
    ]
    done = await local.ask(b"/oauth/done/crm", *FROM_ELSEWHERE, cookie)
    assert done.status == 200
    assert b"crm is authorized" in done.body
    assert b"canary" not in done.body


@pytest.mark.case("A-344")
async def test_flows_in_several_tabs_all_end_well(local):
    first, one = await begun(local)
    second, both = await begun(local, b"crm", one)

    for state in (first, second):
        assert location(await local.ask(b"/oauth/callback/acme?code=c&state=" + state, *FROM_ELSEWHERE, both))


@pytest.mark.case("A-331")
@pytest.mark.parametrize("query", [b"", b"?code=c", b"?code=c&state=guess", b"?state=", b"?%ff=%00&state=a;b"])
async def test_a_callback_of_no_flow_is_refused(local, query):
    _, cookie = await begun(local)

    refused = await local.ask(b"/oauth/callback/acme" + query, *FROM_ELSEWHERE, cookie)

    assert refused.status == 400
    assert b"not under way" in refused.body


@pytest.mark.case("A-332")
@pytest.mark.parametrize("cookie", [b"A: b", b"Cookie: iclient_proxy_flow=another-browsers-session", b"Cookie: x"])
async def test_a_link_that_somebody_else_began_is_refused(local, cookie):
    state, _ = await begun(local)

    refused = await local.ask(b"/oauth/callback/acme?code=c&state=" + state, *FROM_ELSEWHERE, cookie)

    assert refused.status == 400
    assert b"another browser" in refused.body


@pytest.mark.case("A-336")
async def test_what_the_authorization_server_says_is_not_repeated(local):
    state, cookie = await begun(local)
    query = b"?error=access_denied&error_description=<script>canary</script>&error_uri=http://canary&state=" + state

    refused = await local.ask(b"/oauth/callback/acme" + query, *FROM_ELSEWHERE, cookie)

    assert refused.status == 400
    assert b"was declined" in refused.body
    assert b"canary" not in refused.body
    assert refused.values(b"x-frame-options") == [b"DENY"]


@pytest.mark.case("A-343")
async def test_a_code_that_could_not_be_exchanged_is_a_fault_behind_us(local):
    state, cookie = await begun(local)

    assert (await local.ask(b"/oauth/callback/acme?code=down&state=" + state, *FROM_ELSEWHERE, cookie)).status == 502


@pytest.mark.case("A-337")
async def test_a_code_without_end_is_refused(local):
    state, cookie = await begun(local)

    refused = await local.ask(
        b"/oauth/callback/acme?state=" + state + b"&code=" + b"c" * 100_000, *FROM_ELSEWHERE, cookie
    )

    assert refused.status == 400
    assert local.running.finished == []


@pytest.mark.case("A-338")
async def test_a_callback_is_a_get(local):
    state, cookie = await begun(local)
    body = b"code=c&state=" + state
    form = (b"Content-Type: application/x-www-form-urlencoded", b"Content-Length: %d" % len(body))

    posted = await local.ask(b"/oauth/callback/acme", *FROM_ELSEWHERE, *form, cookie, method=b"POST", body=body)
    looked = await local.ask(b"/oauth/callback/acme?" + body, *FROM_ELSEWHERE, cookie, method=b"HEAD")

    assert (posted.status, looked.status) == (405, 405)
    assert local.running.finished == []


async def test_the_fixed_page_tells_the_truth(local):
    assert b"Someone has to authorize this connection" in (await local.ask(b"/oauth/done/crm", *FROM_ELSEWHERE)).body
    assert (await local.ask(b"/oauth/done/nobody", *FROM_ELSEWHERE)).status == 404


async def test_from_another_site_no_other_page_is_seen(local):
    local.running.statuses["crm"] = interactive(last_renewal_at=NOW)

    for path in (b"/", b"/connections/crm", b"/api/connections", b"/assets/admin.css"):
        refused = await local.ask(path, *FROM_ELSEWHERE)
        assert (refused.status, refused.code) == (403, "cross_site")


@pytest.mark.case("A-348")
async def test_a_rebound_name_reaches_no_flow(local):
    for path in (b"/oauth/start/crm", b"/oauth/callback/acme?state=a&code=b"):
        refused = await local.ask(path, *BY_ITS_USER, host=b"attacker.example")
        assert (refused.status, refused.code) == (421, "misdirected_request")
    assert (local.running.started, local.running.finished) == ([], [])


@pytest.mark.parametrize("redirect_url", [None, "", "http://localhost/landing", "http://localhost/oauth/callbacks/x"])
async def test_a_redirect_url_that_leads_to_no_callback_starts_nothing(local, redirect_url):
    local.running.statuses["crm"] = interactive(redirect_url=redirect_url)

    assert (await local.ask(b"/oauth/start/crm", *BY_ITS_USER)).status == 409
    assert local.running.started == []


@pytest.mark.case("A-345")
async def test_the_ticket_of_a_page_lasts_ten_minutes_and_that_of_a_hop_one(local):
    page = await local.ask(b"/oauth/start/crm")
    go = re.search(rb"go=([0-9a-f.]+)", page.body)[1]
    local.running.statuses["crm"] = interactive(redirect_url="http://127.0.0.1/oauth/callback/acme")
    hop = location(await local.ask(b"/oauth/start/crm?go=" + go)).partition("?go=")[2].encode()

    local.clock.now += 59.9
    assert (await local.ask(b"/oauth/start/crm?go=" + hop, host=b"127.0.0.1")).status == 303
    local.clock.now += 0.1
    assert (await local.ask(b"/oauth/start/crm?go=" + hop, host=b"127.0.0.1")).status == 200
    local.clock.now += 539.9
    assert (await local.ask(b"/oauth/start/crm?go=" + go)).status == 303
    local.clock.now += 0.1
    assert (await local.ask(b"/oauth/start/crm?go=" + go)).status == 200


@pytest.mark.parametrize(
    ("uri", "complete", "linked"),
    [
        ("http://127.0.0.1/device", None, True),
        ("https://auth.example.com/device", "https://auth.example.com/device?code=1", True),
        ("javascript:alert(1)", None, False),
        ("https://auth.example.com/device", "javascript:alert(1)", False),
        ("javascript:alert(1)", "https://auth.example.com/device?code=1", False),
    ],
)
async def test_nothing_but_a_web_address_of_the_server_becomes_a_link(local, uri, complete, linked):
    async def device(name):
        return DeviceStarted("WDJB-MJHT", uri, complete, 900.0)

    local.running.device = device
    local.running.statuses["tv"] = ConnectionStatus("tv", iclient="tv", grant_type="device_code", can_authorize=True)

    page = await local.ask(b"/oauth/start/tv", *BY_ITS_USER)

    assert (f'href="{uri}'.encode() in page.body) is linked
    assert b'href="javascript' not in page.body


@pytest.mark.parametrize(
    ("code", "title"),
    [
        ("invalid_state", b"This authorization is not under way"),
        ("session_mismatch", b"This authorization began in another browser"),
        ("issuer_mismatch", b"The answer comes from another authorization server"),
        ("access_denied", b"The authorization was declined"),
        ("exchange_failed", b"The authorization did not succeed"),
    ],
)
async def test_the_page_says_what_went_wrong_and_finds_its_style(local, code, title):
    async def finish(path_name, query, sessions):
        raise AuthorizationError(code, 400, "Words.")

    local.running.finish = finish

    page = await local.ask(b"/oauth/callback/acme?state=x&code=y", *FROM_ELSEWHERE)

    assert page.status == 400
    assert title in page.body
    assert b'href="../../assets/' in page.body
