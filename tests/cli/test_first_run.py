"""The first hour of a new user: what he does, what he reads, and that the next step he is told works as it stands."""

import json
import re
import shlex
import socket

import pytest

from proxy.tokens.unavailable import advice
from tests.cli.command import iclient_proxy
from tests.cli.terminal import at_terminal
from tests.support.client import Client
from tests.support.process import Process

MACHINE = """
connections:
  crm:
    base_url: https://127.0.0.1:9
    iclient:
      grant_type: client_credentials
      token_url: https://127.0.0.1:9/token
      client_id: my-app
      client_secret: {env: CRM_SECRET}
"""
FIVE_MISTAKES = """
conections: {}
connections:
  crm:
    iclient: crm
    base_url: api.example.com
  mail:
    provdier: hubspot
    base_url: https://mail.example.com
    iclient:
      grant_type: client_credential
      token_url: https://auth.example.com/token
      client_id: my-app
      client_secret: {env: MAIL_SECRET}
"""
BY_HUMANS = {
    "listeners": {"reverse": {"bind": "127.0.0.1:0"}, "admin": {"bind": "127.0.0.1:0"}},
    "connections": {
        "crm": {
            "base_url": "https://127.0.0.1:9",
            "iclient": {
                "grant_type": "authorization_code",
                "authorization_url": "https://127.0.0.1:9/authorize",
                "token_url": "https://127.0.0.1:9/token",
                "client_id": "my-app",
            },
        }
    },
}
SECRET = {"CRM_SECRET": "canary-secret-1"}


def commands(text):
    """Return the command lines that a text names in backquotes or at the end of `Next: `."""
    found = re.findall(r"(?:`|Next: |then |^  )(iclient-proxy [^`\n]+)", text, re.MULTILINE)
    return [shlex.split(each)[1:] for each in found]


async def test_who_types_only_the_name_reads_where_to_begin_and_it_goes_all_the_way_to_run(tmp_path):
    done = await iclient_proxy(cwd=tmp_path)
    shown = re.sub(r"\s+", " ", done.out + done.err)
    told = commands(shown)

    assert told == [["demo"], ["init", "-o", "iclient-proxy.yaml"], ["check"], ["run"]]
    made = await iclient_proxy(*told[1], cwd=tmp_path)
    checked = await iclient_proxy(*told[2], cwd=tmp_path)
    assert made.status == 0
    assert checked.status == 78
    assert "token_url" in checked.out


@pytest.mark.parametrize("verb", [("run",), ("check",)])
async def test_without_definitions_the_command_that_writes_them_is_named(verb, tmp_path):
    done = await iclient_proxy(*verb, cwd=tmp_path)
    [first, _demo] = commands(done.out + done.err)

    assert (await iclient_proxy(*first, cwd=tmp_path)).status == 0
    assert (tmp_path / "iclient-proxy.yaml").exists()


async def test_a_first_check_with_five_mistakes_says_for_each_what_would_be_right(tmp_path):
    (tmp_path / "my own.yaml").write_text(FIVE_MISTAKES)

    done = await iclient_proxy("check", "--config", "my own.yaml", cwd=tmp_path)

    assert done.status == 78
    for told in (
        "did you mean connections?",
        "none are defined: write one right here, iclient: {…}",
        "https:// (or http://), then a host",
        "provider is a key of its iClient: write it below iclient",
        "did you mean client_credentials?",
    ):
        assert told in done.out
    count = len(done.out.splitlines())
    assert done.err == f"{count} faults. Next: correct them, then iclient-proxy check '--config=my own.yaml'\n"
    [again] = commands(done.err)
    assert (await iclient_proxy(*again, cwd=tmp_path)).out == done.out


async def test_good_definitions_lead_to_run_and_machines_are_told_nothing_more(tmp_path):
    (tmp_path / "iclient-proxy.yaml").write_text(MACHINE)

    text = await iclient_proxy("check", environment=SECRET, cwd=tmp_path)
    data = await iclient_proxy("check", "--format", "json", environment=SECRET, cwd=tmp_path)

    assert text.err == "Next: iclient-proxy run\n"
    assert (json.loads(data.out)["ok"], data.err) == (True, "")


async def test_a_port_that_is_taken_says_who_may_have_it_and_what_to_write(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        (tmp_path / "iclient-proxy.yaml").write_text(
            f'listeners: {{reverse: {{bind: "{bind}"}}, admin: false}}{MACHINE}'
        )
        done = await iclient_proxy("run", environment=SECRET, cwd=tmp_path)

    assert done.status == 71
    assert done.err == (
        f"iclient-proxy: reverse listener: can't listen on {bind}: Address already in use; another program "
        "listens there, perhaps this proxy, started before: end it, or write another bind for this listener\n"
    )


async def test_a_token_endpoint_that_is_not_there_is_said_to_be_that(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "iclient-proxy.yaml").write_text(MACHINE.replace("127.0.0.1:9/token", f"127.0.0.1:{port}/token"))

    done = await iclient_proxy("token", "crm", environment=SECRET, cwd=tmp_path)

    assert done.status == 69
    assert "token_connect_failed. Can this machine reach the token endpoint?" in done.err
    assert '"said":"ECONNREFUSED"' in done.err


async def test_who_asks_a_proxy_that_does_not_run_is_told_how_to_start_or_find_it(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        unused = f"http://127.0.0.1:{free.getsockname()[1]}"
    done = await iclient_proxy("status", "--admin", unused, cwd=tmp_path)

    assert (
        "Is `iclient-proxy run` running? Another address is named by --admin URL or $ICLIENT_PROXY_ADMIN." in done.err
    )


async def test_a_grant_that_needs_a_human_is_announced_once_with_command_and_page_and_the_503_says_the_same(tmp_path):
    process = await Process.start(BY_HUMANS, tmp_path)
    try:
        await process.until_listening("reverse", "admin")
        said = await process.until_logged("authorization_required", connection="crm")
        page = f"http://127.0.0.1:{process.admin[1]}/"
        client = await Client.connect(process.reverse)
        await client.send(b"GET /crm/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = await client.response()
        await client.close()

        assert said["remedy"] == f"Run `iclient-proxy authorize crm`, or authorize it on the status page, {page}."
        assert (answer.status, json.loads(answer.body)["detail"]) == (
            503, f"There is no grant for this connection yet, or none any more. {said['remedy']}",
        )  # fmt: skip
        assert len(process.logged("authorization_required")) == 1
        [told] = commands(said["remedy"])
        reached = await iclient_proxy(*told, "--paste", "--admin", page, cwd=tmp_path, stdin="\n")
        assert "Open this in a browser, wherever it is" in reached.err
    finally:
        await process.stop()


@pytest.mark.parametrize(
    ("by_human", "page", "told"),
    [
        (True, None, "Run `iclient-proxy authorize crm`."),
        (True, "https://p.example", "crm`, or authorize it on the status page, https://p.example/."),
        (False, "https://p.example", "Give the connection a new refresh_token, then `iclient-proxy reload`;"),
    ],
)
def test_no_page_is_named_where_there_is_none_and_none_to_authorize_where_nobody_can(by_human, page, told):
    assert told in advice("crm", page, by_human=by_human)


@pytest.mark.parametrize("key", ["\x03", "\x04"])
async def test_ctrl_c_and_ctrl_d_at_a_question_write_nothing_and_say_so(key, tmp_path):
    done = await at_terminal("init", "-o", "f.yaml", keys=["hubspot\n", key], cwd=tmp_path)

    assert done.status == 130
    assert done.out.rstrip().endswith("Nothing was written.")
    assert not (tmp_path / "f.yaml").exists()


async def test_a_file_that_is_there_is_said_to_be_before_the_first_question(tmp_path):
    (tmp_path / "f.yaml").write_text("mine")
    done = await at_terminal("init", "-o", "f.yaml", keys=[], cwd=tmp_path)

    assert done.status == 2
    assert "f.yaml is there already" in done.out
    assert "Which API" not in done.out


async def test_what_init_says_comes_next_works_whatever_was_answered(tmp_path):
    """Quotes, colons, a hash sign, braces and letters beyond ASCII are text, and stay it."""
    odd = "cl\"ï:'#{a}[b]\\"
    keys = [
        "\n",
        "\n",
        "https://auth.example.com/token\n",
        f"{odd}\n",
        "\n",
        "reäd\n",
        "re:#d {'w'\n",
        "https://api.example.com\n",
    ]
    done = await at_terminal("init", "-o", "my own.yaml", keys=keys, cwd=tmp_path)

    assert done.status == 0, done.out
    assert "export API_CLIENT_SECRET=…" in done.out
    check, explain, _run = commands(done.out.replace("\r", ""))
    environment = {"API_CLIENT_SECRET": "canary-secret-1"}
    assert (await iclient_proxy(*check, environment=environment, cwd=tmp_path)).status == 0
    shown = await iclient_proxy(*explain, environment=environment, cwd=tmp_path)
    assert shown.status == 0
