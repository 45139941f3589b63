"""What another process, a core dump or a debugger gets of the memory of the product."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.secrets.nobody import AS_NOBODY, folder, spied
from tests.support.canaries import Scanner, assert_free, canary
from tests.support.process import ROOT
from tests.support.stage import Stage

ENTROPY = random.Random(314)
UNLIMITED = ("prlimit", "--core=unlimited", "--")
# A program that hides nothing: what it shows says that the test would see it.
OPEN = "import signal, time; print('up', flush=True); time.sleep(60)"


def shown(pid, name):
    """Return what the kernel shows to root."""
    return Path(f"/proc/{pid}/{name}").read_bytes()


def owner(pid, name):
    return Path(f"/proc/{pid}/{name}").stat().st_uid


@pytest.fixture
async def nobodys(request):
    """The product as an ordinary user runs it, with a canary for its secret; yields the stage and the word."""
    word = canary("client_secret", ENTROPY)
    with folder() as place:
        stage = Stage({"c0": {}}, {})
        stage.environment = {"CLIENT_SECRET": word.text}
        stage.within = (*UNLIMITED, *AS_NOBODY)
        try:
            await stage.start(place, environment=getattr(request, "param", {}))
            yield stage, word, place
        finally:
            await stage.process.stop()
            await stage.tokens.close()
            stage.forsake()


@pytest.mark.case("S-314", "S-315")
@pytest.mark.needs("setpriv", "prlimit")
async def test_another_process_of_the_same_user_gets_at_neither_memory_nor_environment_nor_files(nobodys):
    stage, _, _ = nobodys
    open_one = await asyncio.create_subprocess_exec(*AS_NOBODY, sys.executable, "-c", OPEN, stdout=-1, cwd="/")
    await open_one.stdout.readline()
    control = json.loads(await asyncio.to_thread(spied, open_one.pid))
    open_one.kill()
    await open_one.communicate()

    seen = json.loads(await asyncio.to_thread(spied, stage.process.pid))

    hidden = ("environ", "mem", "maps", "smaps", "auxv", "io", "fd", "ptrace")
    assert [control[name] for name in hidden if control[name] == "refused"] == []
    assert {name: seen[name] for name in hidden} == dict.fromkeys(hidden, "refused")
    assert owner(stage.process.pid, "mem") == 0


def crashed(command, place, until):
    """Run a command until it says that, kill it by SEGV; return how it ended."""
    running = subprocess.Popen(
        [*UNLIMITED, *AS_NOBODY, sys.executable, *command], stdout=-1, stderr=subprocess.STDOUT, text=True, cwd=place,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "CLIENT_SECRET": "canary-secret-of-a-dump"},
    )  # fmt: skip
    for line in running.stdout:
        if until in line:
            break
    running.send_signal(signal.SIGSEGV)
    ended = os.waitid(os.P_PID, running.pid, os.WEXITED | os.WNOWAIT)
    running.communicate()
    return ended.si_code, ended.si_status


@pytest.mark.case("S-314")
@pytest.mark.needs("setpriv", "prlimit")
def test_a_process_that_crashes_leaves_no_core_dump():
    stage = Stage({"c0": {}}, {})
    with folder() as place:
        (place / "definitions.yaml").write_text(json.dumps(stage.definitions()))
        stage.forsake()
        open_one = crashed(["-c", OPEN], place, "up")
        assert open_one == (os.CLD_DUMPED, signal.SIGSEGV), "this machine writes no core dumps: nothing is shown here"
        for left in place.glob("core*"):
            left.unlink()

        product = crashed(["-m", "proxy", "run", "--config", "definitions.yaml"], place, '"admin"')

        assert product == (os.CLD_KILLED, signal.SIGSEGV)
        assert list(place.glob("core*")) == []


@pytest.mark.case("S-315")
@pytest.mark.needs("setpriv", "prlimit")
@pytest.mark.parametrize("nobodys", [{"PYTHONFAULTHANDLER": "1"}], indirect=True)
async def test_the_dump_of_faulthandler_shows_where_and_no_values(nobodys):
    stage, word, _ = nobodys

    stage.process.signal(signal.SIGSEGV)
    await stage.process.exit_status()

    assert "Fatal Python error: Segmentation fault" in stage.process.output
    assert_free(Scanner([word]), "a dump", stage.process.output.encode(), canary("control", ENTROPY))


@pytest.mark.case("S-313")
async def test_the_environment_of_the_process_no_longer_holds_what_definitions_took_from_it(tmp_path):
    words = [canary(name, ENTROPY) for name in ("first", "second", "key", "admin", "collector", "bystander")]
    first, second, key, admin, collector, bystander = words
    stage = Stage({"c0": {}}, {})
    stage.whole_folder = True
    stage.environment = {
        "CLIENT_SECRET": first.text, "SECOND": second.text, "ICLIENT_PROXY_KEY": key.text,
        "ICLIENT_PROXY_ADMIN_TOKEN": admin.text, "BYSTANDER": bystander.text,
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{collector.text}",
    }  # fmt: skip
    await stage.start(tmp_path)
    pid = stage.process.pid
    case = await stage.case("c0")
    stage.tokens.secrets["c0"] = first.text
    try:
        at_first = {hit.name for hit in Scanner(words).scan(shown(pid, "environ"))}
        assert (await case.ask(case.request())).status == 200
        stage.tokens.secrets["c0"] = second.text
        definitions = json.loads((tmp_path / "definitions.yaml").read_text())
        definitions["connections"]["c0"]["iclient"]["client_secret"] = {"env": "SECOND"}
        (tmp_path / "definitions.yaml").write_text(json.dumps(definitions))
        await stage.process.until_logged("reload", outcome="applied")
        assert (await case.ask(case.request())).status == 200
        after_reload = {hit.name for hit in Scanner(words).scan(shown(pid, "environ"))}
    finally:
        await case.close()
        await stage.close()

    # What nobody has named may be for somebody else; what a reload names is still known, and taken away then.
    assert at_first == {"second", "bystander"}
    assert after_reload == {"bystander"}
    assert case.token_requests == 2


@pytest.mark.case("S-312")
async def test_the_command_line_of_a_process_shows_no_secret(tmp_path):
    word = canary("client_secret", ENTROPY)
    stage = Stage({"c0": {}}, {})
    stage.environment = {"CLIENT_SECRET": word.text}
    await stage.start(tmp_path)
    words = shown(stage.process.pid, "cmdline")
    await stage.close()

    assert b"proxy\0run\0--config" in words
    assert_free(Scanner([word]), "the command line", words, canary("control", ENTROPY))


@pytest.mark.case("S-314")
@pytest.mark.parametrize("verb", ["token", "check", "explain", "seal", "authorize", "request", "ca", "env"])
def test_commands_that_read_secrets_are_hardened_before_they_do(verb, tmp_path):
    code = (
        "import sys, resource, ctypes; from proxy.cli.main import main; "
        "main(sys.argv[1:]); libc = ctypes.CDLL(None); "
        "print(libc.prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, verb, "--help"],
        check=True, capture_output=True, text=True, cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
    )  # fmt: skip

    assert done.stdout.splitlines()[-1] == "0 (0, 0)"


def test_what_reads_no_secret_stays_quick():
    code = "import sys; from proxy.cli.main import main; main(['version']); print('ctypes' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
    )  # fmt: skip

    assert done.stdout.splitlines()[-1] == "False"
