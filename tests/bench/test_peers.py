import os
import re
import signal
import sys
from pathlib import Path

import pytest

from bench import machine, peers
from bench.processes import Running, family
from bench.upstream import TOKEN

FOLDER = Path(peers.__file__).parent
CONFIGURATIONS = sorted(
    path for path in FOLDER.iterdir() if path.suffix in {".conf", ".cfg", ".yaml"} or path.name == "Caddyfile"
)


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.name)
def test_no_configuration_names_a_fixed_port(path):
    assert re.findall(r"127\.0\.0\.1:\d", path.read_text(encoding="utf-8")) == []


def test_a_peer_that_is_not_there_is_named_with_how_to_get_it(tmp_path):
    place = peers.Place(tmp_path, None, machine.cores(), "python", tmp_path)

    ready, missing = peers.ready_peers(["envoy", "caddy", "aiohttp"], place)

    assert [kind.name for kind in ready] == ["aiohttp"]
    assert set(missing) == {"envoy", "caddy"}
    assert all("PyPI" in how for how in missing.values())


def test_the_token_is_one_that_a_header_can_carry():
    assert re.fullmatch(r"[\w-]+", TOKEN)


def test_the_interpreters_build_is_told_by_itself():
    build = machine.interpreter(sys.executable)

    assert build.version == ".".join(map(str, sys.version_info[:3]))
    assert build.version in str(build)


@pytest.mark.needs("taskset")
def test_a_process_is_measured_with_its_children(tmp_path):
    spin = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"
    log = tmp_path / "log"
    running = Running(["sh", "-c", f"sh -c '{spin}; echo spun; exec sleep 60' & wait"], machine.cores().load, log)
    try:
        while "spun" not in log.read_text():
            assert running.alive
        assert running.cpu_seconds() > 0
        assert running.resident_bytes() > 0
    finally:
        for pid in reversed(list(family(running.pid))):
            os.kill(pid, signal.SIGKILL)
        running.stop()
    assert not running.alive
