"""The verbs that ask a running proxy to do something, against an admin listener that answers by a script."""

import json

import pytest

from tests.cli.command import iclient_proxy
from tests.support.scripts import response
from tests.support.upstream import Upstream, listen

ROW = {
    "name": "crm",
    "iclient": "acme",
    "grant_type": "authorization_code",
    "state": "authorization_required",
    "expires_at": None,
    "last_renewal_at": None,
    "last_error": None,
    "redirect_url": "http://127.0.0.1:7489/oauth/callback/acme",
    "authorize_url": "/oauth/start/crm",
}
SERVING = {**ROW, "state": "valid", "last_renewal_at": "2026-01-02T03:04:05Z"}
DEVICE = {"user_code": "WDJB-MJHT", "verification_uri": "https://acme.example/device", "expires_in": 600,
          "verification_uri_complete": "https://acme.example/device?user_code=WDJB-MJHT"}  # fmt: skip
NOTHING = {"type": "about:blank", "title": "Not found", "status": 404, "detail": "no connection has that name"}


class Admin:
    """An admin listener: `answers` by request line, one after the other, the last one again and again."""

    def __init__(self):
        self._server = Upstream(listen())
        self._server.always(self._answer)
        self.url = f"http://127.0.0.1:{self._server.port}"
        self.answers = {"GET /api/connections": [[ROW]]}
        self.asked = []

    async def start(self):
        await self._server.start()

    async def close(self):
        await self._server.close()

    async def _answer(self, request):
        line = request.line.decode().removesuffix(" HTTP/1.1")
        body = await request.read_body()
        self.asked.append((line, json.loads(body) if body else None))
        answers = self.answers.get(line, [NOTHING])
        content = answers.pop(0) if len(answers) > 1 else answers[0]
        status = b"200 OK"
        if (
            isinstance(content, dict)
            and "detail" in content
            and isinstance(content.get("status"), int)
            and "title" in content
        ):
            status = b"%d No" % content["status"]
        await request.send(response(json.dumps(content).encode(), b"Content-Type: application/json", status=status))


@pytest.fixture
async def admin():
    made = Admin()
    await made.start()
    yield made
    await made.close()


async def test_revoke_says_what_the_authorization_server_did_not_revoke(admin, tmp_path):
    admin.answers["POST /api/connections/crm/revoke"] = [
        {"outcomes": ["refresh_token: revoked", "access_token: revoked"]},
        {"outcomes": []},
        {"outcomes": ["refresh_token: revoked", "access_token: timeout"]},
        {"outcomes": ["access_token: revocation_unsupported"]},
    ]

    done = await iclient_proxy("revoke", "crm", "--admin", admin.url, cwd=tmp_path)
    nothing = await iclient_proxy("revoke", "crm", "--admin", admin.url, cwd=tmp_path)
    half = await iclient_proxy("revoke", "crm", "--admin", admin.url, cwd=tmp_path)
    not_done = await iclient_proxy("revoke", "crm", "--admin", admin.url, "--format", "json", cwd=tmp_path)

    assert (done.status, done.out, done.err) == (0, "crm: revoked\n", "")
    assert (nothing.status, nothing.out) == (0, "crm: there was nothing to revoke\n")
    assert (half.status, not_done.status) == (69, 69)
    assert "not revoked by the authorization server (access_token: timeout)" in half.out
    assert json.loads(not_done.out)["outcomes"] == {"access_token": "revocation_unsupported"}


@pytest.mark.parametrize(
    ("result", "status", "said"),
    [
        ({"status": 200, "good": True, "detail": "", "ms": 35.4}, 0, "crm: good, 200 in 35 ms\n"),
        ({"status": 500, "good": False, "detail": "not one of 200-399", "ms": 5.0}, 69,
         "crm: not good, 500 in 5 ms: not one of 200-399\n"),
        ({"status": None, "good": False, "detail": "no stream", "ms": 1.0}, 69,
         "crm: not good, no response in 1 ms: no stream\n"),
    ],
)  # fmt: skip
async def test_ping_says_how_the_api_answered_and_the_exit_status_whether_that_is_good(
    result, status, said, admin, tmp_path
):
    admin.answers["POST /api/connections/crm/test"] = [result]

    text = await iclient_proxy("ping", "crm", "--admin", admin.url, cwd=tmp_path)
    data = await iclient_proxy("ping", "crm", "--admin", admin.url, "--format", "json", cwd=tmp_path)

    assert (text.status, text.out, text.err) == (status, said, "")
    assert data.status == status
    assert json.loads(data.out) == {"connection": "crm", **result}


async def test_reload_names_what_changed(admin, tmp_path):
    admin.answers["POST /api/reload"] = [
        {"applied": True, "changed": ["crm", "log"], "faults": []}, {"applied": True, "changed": [], "faults": []},
    ]  # fmt: skip

    changed = await iclient_proxy("reload", "--admin", admin.url, cwd=tmp_path)
    same = await iclient_proxy("reload", "--admin", admin.url, cwd=tmp_path)

    assert (changed.status, changed.out) == (0, "Applied; changed: crm, log\n")
    assert (same.status, same.out) == (0, "Nothing has changed.\n")


async def test_a_reload_with_faults_ends_with_78_and_names_each(admin, tmp_path):
    admin.answers["POST /api/reload"] = [{"applied": False, "changed": [], "faults": ["f.yaml:1:1: x: unknown key"]}]

    done = await iclient_proxy("reload", "--admin", admin.url, cwd=tmp_path)

    assert (done.status, done.out) == (78, "")
    assert done.err.splitlines()[0] == "f.yaml:1:1: x: unknown key"
    assert "nothing was applied" in done.err


async def test_authorize_opens_the_browser_and_waits_until_the_proxy_has_its_tokens(admin, tmp_path):
    admin.answers["GET /api/connections"] = [[ROW], [ROW], [{**ROW, "last_error": "access_denied"}], [SERVING]]
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" >> {tmp_path}/opened\n')
    browser.chmod(0o700)

    done = await iclient_proxy(
        "authorize", "crm", "--admin", admin.url, environment={"BROWSER": str(browser)}, cwd=tmp_path
    )

    assert (done.status, done.out) == (0, "crm: authorized\n")
    assert (tmp_path / "opened").read_text() == f"{admin.url}/oauth/start/crm\n"
    assert f"{admin.url}/oauth/start/crm" in done.err
    assert len(admin.asked) == 4


async def test_authorize_without_a_browser_prints_where_to_go(admin, tmp_path):
    admin.answers["GET /api/connections"] = [[ROW], [SERVING]]

    done = await iclient_proxy(
        "authorize", "crm", "--no-browser", "--format", "json", "--admin", admin.url,
        environment={"BROWSER": "/nowhere/browser"}, cwd=tmp_path,
    )  # fmt: skip

    assert done.status == 0
    assert json.loads(done.out)["state"] == "valid"
    assert f"Open this in a browser: {admin.url}/oauth/start/crm" in done.err


async def test_a_grant_that_serves_is_authorized_anew_only_by_new_tokens(admin, tmp_path):
    later = {**SERVING, "last_renewal_at": "2026-01-02T04:04:05Z"}
    admin.answers["GET /api/connections"] = [[SERVING], [SERVING], [later]]

    done = await iclient_proxy("authorize", "crm", "--no-browser", "--admin", admin.url, cwd=tmp_path)

    assert (done.status, len(admin.asked)) == (0, 3)


async def test_a_device_code_is_shown_with_where_to_enter_it(admin, tmp_path):
    row = {**ROW, "grant_type": "device_code"}
    admin.answers["GET /api/connections"] = [[row], [{**SERVING, "grant_type": "device_code"}]]
    admin.answers["POST /api/connections/crm/device"] = [{**DEVICE, "user_code": "WDJB\x1b[31mX"}]

    done = await iclient_proxy("authorize", "crm", "--device", "--admin", admin.url, cwd=tmp_path)

    assert (done.status, done.out) == (0, "crm: authorized\n")
    assert "Go to https://acme.example/device\nand enter WDJB\ufffd[31mX\n" in done.err
    assert "\x1b" not in done.err


async def test_a_device_code_that_lapses_ends_with_69(admin, tmp_path):
    admin.answers["GET /api/connections"] = [[{**ROW, "grant_type": "device_code"}]]
    admin.answers["POST /api/connections/crm/device"] = [{**DEVICE, "expires_in": 0.1}]

    done = await iclient_proxy("authorize", "crm", "--admin", admin.url, cwd=tmp_path)

    assert (done.status, done.out) == (69, "")
    assert "crm was not authorized within" in done.err


async def test_a_pasted_url_is_redeemed_in_the_session_that_began_it(admin, tmp_path):
    admin.answers["POST /api/connections/crm/authorize"] = [
        {"authorization_url": "https://acme.example/authorize?state=s", "session": "canary-session"}
    ]
    admin.answers["POST /api/connections/crm/redeem"] = [SERVING]
    pasted = "http://127.0.0.1:7489/oauth/callback/acme?code=canary-code&state=s"

    done = await iclient_proxy("authorize", "crm", "--paste", "--admin", admin.url, cwd=tmp_path, stdin=f" {pasted} \n")

    assert (done.status, done.out) == (0, "crm: authorized\n")
    assert "https://acme.example/authorize?state=s" in done.err
    assert admin.asked[-1] == ("POST /api/connections/crm/redeem", {"url": pasted, "session": "canary-session"})
    assert "canary" not in done.out + done.err


async def test_a_code_that_is_refused_ends_with_69_and_the_reason(admin, tmp_path):
    admin.answers["POST /api/connections/crm/authorize"] = [
        {"authorization_url": "https://acme.example/authorize?state=s", "session": "x"}
    ]
    admin.answers["POST /api/connections/crm/redeem"] = [
        {"title": "The authorization did not succeed", "status": 400, "detail": "the state is not one of ours"}
    ]

    done = await iclient_proxy("authorize", "crm", "--paste", "--admin", admin.url, cwd=tmp_path, stdin="x\n")

    assert done.status == 69
    assert done.err.endswith("iclient-proxy: The authorization did not succeed: the state is not one of ours\n")


@pytest.mark.parametrize(
    ("arguments", "row", "said"),
    [
        (("--paste", "--device"), ROW, "exclude each other"),
        (("--device",), ROW, "--device is for the grant device_code"),
        ((), {**ROW, "grant_type": "password", "authorize_url": None}, "needs nobody's consent"),
        ((), {**ROW, "name": "other"}, "no connection is called 'crm'; there are: other"),
        (("--paste",), ROW, "nothing was pasted"),
    ],
)
async def test_what_can_not_be_authorized_so_ends_with_2(arguments, row, said, admin, tmp_path):
    admin.answers["GET /api/connections"] = [[row]]
    admin.answers["POST /api/connections/crm/authorize"] = [{"authorization_url": "https://a.example/", "session": "x"}]

    done = await iclient_proxy("authorize", "crm", *arguments, "--admin", admin.url, cwd=tmp_path)

    assert (done.status, done.out) == (2, "")
    assert said in done.err


@pytest.mark.parametrize("verb", ["revoke", "ping"])
async def test_an_unknown_connection_ends_with_2(verb, admin, tmp_path):
    done = await iclient_proxy(verb, "nobody", "--admin", admin.url, cwd=tmp_path)

    assert (done.status, done.out) == (2, "")
    assert "no connection has that name" in done.err
