"""Completion as a shell asks for it, once by a real bash that has read the script."""

import asyncio
import os
import re
import shutil
import sys

import pytest

from proxy.cli.completion import LEAN
from proxy.cli.main import LEAN as LEAN_VERBS
from proxy.cli.verbs import VERBS
from tests.cli.command import ROOT, iclient_proxy, python
from tests.support.deadline import awaiting

# What can't run: a secret that is not there, a key that is not known.
FAULTY = "connections:\n  crm: {iclient: nobody, base_ulr: x}\n  mail: {iclient: {client_secret: {env: NOT_SET}}}\n"


async def offered(words, folder):
    """Return what is offered for the last of `words`, as bash asks for it."""
    environment = {
        "_ICLIENT_PROXY_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["iclient-proxy", *words]),
        "COMP_CWORD": str(len(words)),
    }
    done = await iclient_proxy(environment=environment, cwd=folder)
    assert (done.status, done.err) == (0, "")
    return done.out.split()


async def test_all_verbs_are_offered_without_importing_one(tmp_path):
    code = (
        "import sys; from proxy.cli.main import main; main([]); "
        "print(*(name for name in sys.modules if name.startswith('proxy.')), file=sys.stderr)"
    )
    environment = {
        "_ICLIENT_PROXY_COMPLETE": "complete_bash", "COMP_WORDS": "iclient-proxy re", "COMP_CWORD": "1",
    }  # fmt: skip

    done = await python("-c", code, environment=environment, cwd=tmp_path)

    assert set(done.out.split()) == {verb for verb in VERBS if verb.startswith("re")}
    assert set(done.err.split()) <= {
        "proxy.cli", "proxy.cli.main", "proxy.cli.verbs", "proxy.cli.completion", "proxy.cli.failures",
        "proxy.cli.admin_client", "proxy.errors", "proxy.problem",
    }  # fmt: skip


@pytest.mark.parametrize("verb", LEAN_VERBS)
async def test_verbs_that_do_without_typer_offer_the_options_of_their_help(verb, tmp_path):
    shown = (await iclient_proxy(verb, "--help", cwd=tmp_path)).out.partition("options:")[2].partition("Example")[0]

    assert verb in LEAN
    assert set(await offered([verb, "--"], tmp_path)) == set(re.findall(r"--[a-z]+", shown))


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["token", ""], {"crm", "mail"}),
        (["authorize", "m"], {"mail"}),
        (["explain", "--config", "other.yaml", ""], {"elsewhere"}),
        (["env", "--connection", ""], {"crm", "mail"}),
        (["init", "--provider", "hubs"], {"hubspot"}),
        (["providers", "show", "hubs"], {"hubspot"}),
        (["providers", "search", "hubs"], set()),
        (["check", "--format", ""], {"text", "json", "github"}),
        (["ca", "ex"], {"export"}),
        (["token", "--config", "absent.yaml", ""], set()),
    ],
)
async def test_names_are_offered_where_they_are_meant_also_from_definitions_with_faults(words, found, tmp_path):
    (tmp_path / "iclient-proxy.yaml").write_text(FAULTY)
    (tmp_path / "other.yaml").write_text("connections: {elsewhere: {}}")

    assert set(await offered(words, tmp_path)) == found


@pytest.mark.parametrize("text", ["", "- a", "connections: [a]", "\tx: {", "connections: \xff"])
async def test_definitions_that_can_not_be_read_offer_nothing_and_say_nothing(text, tmp_path):
    (tmp_path / "iclient-proxy.yaml").write_bytes(text.encode("latin-1"))

    assert await offered(["token", ""], tmp_path) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_each_shell_has_a_script_and_gets_it_by_its_variable_too(shell, tmp_path):
    named = await iclient_proxy("completion", shell, cwd=tmp_path)
    found = await iclient_proxy("completion", environment={"SHELL": f"/usr/bin/{shell}"}, cwd=tmp_path)

    assert named.status == 0
    assert f"complete_{shell}" in named.out
    assert found.out == named.out


async def test_an_unknown_shell_is_told_which_there_are(tmp_path):
    done = await iclient_proxy("completion", environment={"SHELL": "/bin/sh"}, cwd=tmp_path)

    assert (done.status, done.out) == (2, "")
    assert "iclient-proxy completion bash|zsh|fish" in done.err


async def test_a_real_bash_completes_what_was_typed(tmp_path):
    """The script is sourced as its help says, and the function that it registers is called as bash calls it."""
    program = tmp_path / "iclient-proxy"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m proxy "$@"\n')
    program.chmod(0o755)
    (tmp_path / "iclient-proxy.yaml").write_text(FAULTY)
    script = (
        "source <(iclient-proxy completion bash); complete -p iclient-proxy; "
        "COMP_WORDS=(iclient-proxy token cr); COMP_CWORD=2; "
        '_iclient_proxy_completion iclient-proxy; echo "${COMPREPLY[@]}"'
    )
    bash = shutil.which("bash")
    assert bash is not None
    running = await asyncio.create_subprocess_exec(
        bash, "--norc", "-c", script, stdout=asyncio.subprocess.PIPE, cwd=tmp_path,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )  # fmt: skip
    async with awaiting("bash", 30):
        out, _ = await running.communicate()

    assert out.decode().splitlines() == [
        "complete -o default -F _iclient_proxy_completion iclient-proxy", "crm",
    ]  # fmt: skip
