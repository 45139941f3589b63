"""What a container does to a process: it is number 1, its disk is read-only, its network lacks something."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import signal
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.support.deadline import awaiting, eventually
from tests.support.process import Process
from tests.support.stage import SECRET, Case, Stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PORT_TAKEN = 71
KEY: Final = base64.b64encode(bytes(range(32))).decode()
UNSHARE: Final = ("unshare", "--user", "--map-root-user")
NUMBER_ONE: Final = (*UNSHARE, "--pid", "--fork", "--kill-child", "--mount-proc")
READ_ONLY: Final = (
    *UNSHARE, "--mount", "sh", "-c",
    'mount --bind /dev/null /etc/hosts && mount -o remount,bind,ro / && exec "$@"', "sh",
)  # fmt: skip
# `lo` of a new network is down, and there is not always a program that puts it up (SIOCSIFFLAGS: IFF_UP and running).
_ALONE: Final = """
import fcntl, os, pathlib, socket, struct, sys
pathlib.Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")
with socket.socket() as any_one:
    fcntl.ioctl(any_one, 0x8914, struct.pack("16sh14x", b"lo", 0x41))
os.execvp(sys.argv[1], sys.argv[1:])
"""
WITHOUT_IPV6: Final = (*UNSHARE, "--net", sys.executable, "-c", _ALONE)
# What makes, opens or moves a file.
FILES: Final = (
    "open,openat,openat2,creat,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,link,linkat,symlink,mknod"
)


@asynccontextmanager
async def played(folder: Path, *within: str, settings: dict[str, Any] | None = None) -> AsyncIterator[Case]:
    """Start the product under restraint, with one connection whose server gives refresh tokens."""
    async with AsyncExitStack() as after:
        stage = Stage({"c0": {}}, settings or {})
        stage.within = within
        stage.environment |= {"KEYS": KEY, "PYTHONDONTWRITEBYTECODE": "1"}
        stage.tokens.members["c0"] = {"refresh_token": "canary-refresh"}
        await stage.start(folder)
        after.push_async_callback(stage.close)
        case = await stage.case("c0")
        after.push_async_callback(case.close)
        yield case


def touch(file: Path) -> None:
    file.touch()


def children(pid: int) -> list[int]:
    """Return the children of a process, the dead that nobody has buried among them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            found.append(int(folder.name))
    return found


@pytest.mark.case("L-293", "L-288")
@pytest.mark.needs("unshare", "nsenter")
async def test_process_1_of_a_container_drains_on_a_signal_and_buries_what_it_inherits(tmp_path: Path):
    async with played(tmp_path, *NUMBER_ONE) as case:
        process = case.stage.process
        assert (await case.ask(case.request())).status == 200
        [one] = children(process.pid)
        # A probe that forks and leaves its child behind, which ends when the other end of its input does.
        reading, writing = os.pipe()
        probe = await asyncio.create_subprocess_exec(
            "nsenter", "--target", str(one), "--user", "--pid", "sh", "-c", "cat <&3 3<&- & exit", stdin=reading,
            stdout=asyncio.subprocess.DEVNULL, preexec_fn=lambda: os.dup2(0, 3), pass_fds=(3,),
        )  # fmt: skip
        os.close(reading)
        async with awaiting("the end of the probe"):
            assert await probe.wait() == 0
        await eventually("an orphan", lambda: len(children(one)) == 1)
        os.close(writing)
        await eventually("its burial", lambda: children(one) == [])

        assert (await case.ask(case.request())).status == 200
        os.kill(one, signal.SIGTERM)
        assert await process.exit_status() == 0
        assert process.logged("stopped")[0]["streams_cut"] == 0


@pytest.mark.case("L-298")
@pytest.mark.needs("unshare")
async def test_on_a_read_only_disk_and_without_a_hosts_file_it_serves_and_reloads(tmp_path: Path):
    async with played(tmp_path, *READ_ONLY) as case:
        process = case.stage.process
        with pytest.raises(OSError, match="Read-only"):
            touch(Path(f"/proc/{process.pid}/root{tmp_path}/x"))
        assert (await case.ask(case.request())).status == 200
        process.signal(signal.SIGHUP)
        await process.until_logged("reload", outcome="applied")
        assert (await case.ask(case.request())).status == 200


@pytest.mark.case("L-298")
@pytest.mark.needs("strace")
async def test_nothing_is_written_outside_the_folder_of_the_store(tmp_path: Path):
    definitions, grants, traced = tmp_path / "definitions", tmp_path / "grants", tmp_path / "traced"
    definitions.mkdir()
    within = ("strace", "-D", "-f", "--seccomp-bpf", "-o", str(traced), "-e", f"trace={FILES}")
    store = {"kind": "file", "path": str(grants), "key": {"env": "KEYS"}}
    async with played(definitions, *within, settings={"store": store}) as case:
        process = case.stage.process
        assert (await case.ask(case.request())).status == 200
        assert (await process.admin_get("/")).status == 200
        assert (await process.admin_post("/api/reload")).status == 200
        assert list(grants.glob("*.grant"))

    written = [line for line in traced.read_text().splitlines() if is_writing(line)]
    paths = {path for line in written for path in re.findall(r'"([^"]*)"', line)}
    assert paths
    assert {path for path in paths if not path.startswith(str(grants))} <= {"/dev/null", "/dev/tty"}


def is_writing(line: str) -> bool:
    opens = re.match(r"\d+ +open", line) is not None
    succeeds = '"' in line and " = -1 " not in line
    return succeeds and (not opens or re.search(r"O_WRONLY|O_RDWR|O_CREAT", line) is not None)


@pytest.mark.case("L-296")
@pytest.mark.needs("unshare")
@pytest.mark.parametrize(
    ("bind", "status", "says"),
    [("127.0.0.1:0", 0, "127.0.0.1:"), ("[::1]:0", PORT_TAKEN, "::1")],
    ids=["IPv4 is bound", "IPv6 is refused"],
)
async def test_on_a_machine_without_ipv6(tmp_path: Path, bind: str, status: int, says: str):
    stage = Stage({"c0": {}}, {})
    written = stage.definitions()
    stage.forsake()
    written["listeners"] = {"reverse": {"bind": bind}, "admin": {"bind": f"unix:{tmp_path}/admin"}}
    process = await Process.start(written, tmp_path, {"CLIENT_SECRET": SECRET}, within=WITHOUT_IPV6)
    if status == 0:
        await process.until_logged("listening", listener="admin")
        process.signal()

    assert await process.exit_status() == status
    await process.stop()
    assert says in process.output
    process.assert_clean()
