import json
import re
import socket
import sys
from importlib.util import find_spec

import pytest

from proxy.cli.verbs import VERBS
from tests.cli.command import iclient_proxy, python

DEFINITION = """
connections:
  acme:
    base_url: https://api.acme.example
    iclient:
      grant_type: client_credentials
      token_url: https://auth.acme.example/oauth/token
      client_id: my-app
      client_secret: {env: ACME_SECRET}
  plain:
    base_url: https://plain.example
"""


@pytest.fixture
def definition(tmp_path):
    path = tmp_path / "iclient-proxy.yaml"
    path.write_text(DEFINITION)
    return path


@pytest.mark.parametrize("verb", VERBS)
async def test_the_help_of_each_verb_shows_an_example(verb, tmp_path):
    done = await iclient_proxy(verb, "--help", cwd=tmp_path)

    assert done.status == 0
    assert re.search(rf"Example: .*iclient-proxy {verb}\b", done.out)


async def test_without_a_verb_the_verbs_are_listed(tmp_path):
    done = await iclient_proxy(cwd=tmp_path)

    assert all(re.search(rf"^\W*{verb}  ", done.out + done.err, re.MULTILINE) for verb in VERBS)


@pytest.mark.parametrize(
    "arguments", [("statsu",), ("--nonsense",), ("run", "--nonsense"), ("status", "extra"), ("token",), ("health", "x")]
)
async def test_a_command_line_that_makes_no_sense_ends_with_2(arguments, tmp_path):
    done = await iclient_proxy(*arguments, cwd=tmp_path)

    assert (done.status, done.out) == (2, "")
    assert done.err


async def test_a_mistyped_verb_is_recognised(tmp_path):
    assert "Did you mean 'status'?" in (await iclient_proxy("statsu", cwd=tmp_path)).err


async def test_to_list_the_verbs_imports_none_of_them(tmp_path):
    code = (
        "import sys; from proxy.cli.main import main; main(['--help']); "
        "print(*(name for name in sys.modules if name.startswith('proxy.')), file=sys.stderr)"
    )

    done = await python("-c", code, cwd=tmp_path)

    assert done.status == 0, done.err
    assert set(done.err.split()) == {"proxy.cli", "proxy.cli.main", "proxy.cli.verbs"}


@pytest.mark.parametrize("verb", ["health", "version"])
async def test_what_an_orchestrator_calls_often_imports_the_standard_library_only(verb, tmp_path):
    code = (
        "import sys; from proxy.cli.main import main; "
        f"status = main([{verb!r}]); print(status, *sys.modules, file=sys.stderr)"
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        unused = f"http://127.0.0.1:{free.getsockname()[1]}"

    done = await python("-c", code, environment={"ICLIENT_PROXY_ADMIN": unused}, cwd=tmp_path)

    status, *modules = done.err.splitlines()[-1].split()
    assert status == ("69" if verb == "health" else "0")
    foreign = {name.partition(".")[0] for name in modules} - sys.stdlib_module_names
    # Some distributions put a sitecustomize of their own into every interpreter.
    assert {name for name in foreign - {"sitecustomize"} if not name.startswith("_")} == {"proxy"}
    assert "asyncio" not in modules


async def test_the_proxy_itself_runs_without_a_terminal_library(tmp_path):
    code = (
        "import sys; from proxy.cli.main import main; import proxy.cli.run; proxy.cli.run.import_structlog_alone(); "
        "import proxy.runtime.run; print(*sys.modules)"
    )

    done = await python("-c", code, cwd=tmp_path)

    assert done.status == 0, done.err
    assert not {"rich", "typer", "click"} & set(done.out.split())
    assert "structlog" in done.out.split()


async def test_the_version_is_that_of_the_package(tmp_path):
    text = await iclient_proxy("version", cwd=tmp_path)
    data = await iclient_proxy("version", "--format", "json", cwd=tmp_path)

    version = json.loads(data.out)["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", version)
    assert text.out.startswith(f"iclient-proxy {version} (CPython ")


@pytest.mark.parametrize("pure", ["", "1"])
async def test_the_version_says_how_heads_are_read(tmp_path, pure):
    built = find_spec("proxy.wire.scanner") is not None
    expected = "compiled" if built and not pure else "pure"

    text = await iclient_proxy("version", cwd=tmp_path, environment={"ICLIENT_PROXY_PURE": pure})
    data = await iclient_proxy("version", "--format", "json", cwd=tmp_path, environment={"ICLIENT_PROXY_PURE": pure})

    assert text.out.endswith(f", data path {expected})\n")
    assert json.loads(data.out)["form"] == expected


@pytest.mark.case("S-312")
async def test_no_verb_takes_a_secret_on_its_command_line(tmp_path):
    for verb in VERBS:
        text = (await iclient_proxy(verb, "--help", cwd=tmp_path)).out
        assert not re.search(r"--\w*(secret|password|token|bearer|auth)", text), verb


@pytest.mark.parametrize("verb", [("run",), ("token", "acme")])
async def test_without_definitions_a_verb_that_needs_them_says_where_it_looked(verb, tmp_path):
    done = await iclient_proxy(*verb, cwd=tmp_path)

    assert done.status == 78
    assert "no $ICLIENT_PROXY_CONFIG" in done.err
    assert "iclient-proxy.yaml" in done.err


@pytest.mark.parametrize("verb", [("run",), ("token", "acme"), ("check",)])
async def test_faulty_definitions_end_with_78_and_every_fault_with_its_place(verb, definition):
    definition.write_text(
        DEFINITION.replace("client_credentials", "client_credentialz").replace("base_url", "base_ulr")
    )

    done = await iclient_proxy(*verb, cwd=definition.parent)

    assert done.status == 78
    assert re.search(
        r"^iclient-proxy\.yaml:\d+:\d+: .*did you mean client_credentials", done.out + done.err, re.MULTILINE
    )
    assert re.search(r"^iclient-proxy\.yaml:\d+:\d+: .*base_ulr", done.out + done.err, re.MULTILINE)
    assert "'ACME_SECRET' is not set" in done.out + done.err


@pytest.mark.case("L-295")
async def test_a_port_that_is_taken_ends_with_71_and_names_the_address(definition):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        definition.write_text(f'listeners: {{reverse: {{bind: "127.0.0.1:{port}"}}, admin: false}}\n{DEFINITION}')

        done = await iclient_proxy("run", environment={"ACME_SECRET": "canary-secret-1"}, cwd=definition.parent)

    assert done.status == 71
    assert f"127.0.0.1:{port}" in done.err


@pytest.mark.parametrize(
    ("name", "why"), [("nobody", "there are: acme, plain"), ("plain", "has no iclient, so it needs no token")]
)
async def test_a_token_is_only_to_be_had_for_a_connection_that_needs_one(name, why, definition):
    done = await iclient_proxy("token", name, environment={"ACME_SECRET": "canary-secret-1"}, cwd=definition.parent)

    assert (done.status, done.out) == (2, "")
    assert why in done.err


@pytest.mark.parametrize("grant", ["authorization_code", "device_code", "refresh_token"])
async def test_a_grant_that_the_running_proxy_holds_is_left_to_it(grant, tmp_path):
    urls = {
        "authorization_code": "authorization_url: https://auth.acme.example/authorize",
        "device_code": "device_authorization_url: https://auth.acme.example/device",
        "refresh_token": "scopes: []",
    }
    seed = "    refresh_token: {env: ACME_SECRET}\n" if grant == "refresh_token" else ""
    (tmp_path / "iclient-proxy.yaml").write_text(
        "connections:\n"
        "  acme:\n"
        "    base_url: https://api.acme.example\n"
        f"{seed}"
        "    iclient:\n"
        f"      grant_type: {grant}\n"
        "      token_url: https://auth.acme.example/oauth/token\n"
        f"      {urls[grant]}\n"
        "      client_id: my-app\n"
    )
    done = await iclient_proxy("token", "acme", environment={"ACME_SECRET": "canary-secret-1"}, cwd=tmp_path)

    assert (done.status, done.out) == (2, "")
    assert "only the running proxy holds the grant" in done.err


@pytest.mark.parametrize(
    "verb",
    [
        ("status",),
        ("renew", "acme"),
        ("health",),
        ("health", "--ready"),
        ("revoke", "acme"),
        ("ping", "acme"),
        ("reload",),
        ("authorize", "acme"),
    ],
)
async def test_without_a_running_proxy_the_status_is_69_and_the_message_says_where_it_asked(verb, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        unused = f"http://127.0.0.1:{free.getsockname()[1]}"

    done = await iclient_proxy(*verb, "--admin", unused, cwd=tmp_path)

    assert (done.status, done.out) == (69, "")
    assert unused in done.err


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1:1", "http://", "http://a b", "http://x@y", "http://h/path", "http://h:x"]
)
async def test_an_address_that_can_not_be_an_admin_listener_is_refused(url, tmp_path):
    done = await iclient_proxy("status", "--admin", url, cwd=tmp_path)

    assert done.status == 69
    assert "is not the address of an admin listener" in done.err


async def test_an_internal_error_is_one_line_that_says_how_to_get_more(tmp_path):
    code = (
        "import sys; from proxy.cli import main; from proxy.secret import Secret; held = Secret('canary-secret-here')\n"
        "def broken(): raise ValueError('it was canary-secret-here')\n"
        "main.import_module = lambda name: type('Broken', (), {'main': staticmethod(lambda argv: broken())})\n"
        "sys.exit(main.main(sys.argv[1:]))"
    )

    short = await python("-c", code, "health", cwd=tmp_path)
    long = await python("-c", code, "--debug", "health", cwd=tmp_path)

    assert (short.status, long.status) == (70, 70)
    assert short.err.splitlines()[0] == "iclient-proxy: internal error: ValueError: it was ***"
    assert "--debug" in short.err
    assert "Traceback" not in short.err
    assert "in broken" in long.err
    assert "canary-secret" not in short.err + long.err
