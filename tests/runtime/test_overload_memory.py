"""How full the memory is: which cgroup is ours, and what counts in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proxy.definitions.settings import Limits
from proxy.runtime.cgroup import open_cgroup
from proxy.runtime.shares import replay_memory

MIB = 1 << 20
UNLIMITED_FIRST = "9223372036854771712\n"


def written(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def membership(folder: Path, *lines: str) -> Path:
    file = folder / "membership"
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def second(folder: Path, *, current: int, limit: str, stat: str = "anon 0\n") -> None:
    written(folder, memory__current=f"{current}\n", memory__max=f"{limit}\n", memory__stat=stat)


def first(folder: Path, *, usage: int, limit: str, stat: str = "total_rss 0\n") -> None:
    written(folder, memory__usage_in_bytes=f"{usage}\n", memory__limit_in_bytes=limit, memory__stat=stat)


@pytest.mark.case("L-284")
def test_the_smallest_limit_at_or_above_our_cgroup_counts_against_what_is_in_use_in_ours(tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    written(root, cgroup__controllers="memory")
    second(root / "slice", current=900, limit="700")
    second(root / "slice/ours", current=300, limit="800")
    second(root / "other", current=5, limit="10")
    found = open_cgroup(root, membership(tmp_path, "0::/slice/ours"))

    assert found is not None
    assert (found.limit(), found.charged(), found.used()) == (700, 300, 300)
    (root / "slice/memory.max").write_text("max\n")
    (root / "slice/ours/memory.max").write_text("max\n")
    assert found.limit() is None
    found.close()


@pytest.mark.case("L-284")
@pytest.mark.parametrize("path", ["/", "/kubepods/pod1/abc", "/../../elsewhere"])
def test_in_a_container_the_mount_is_our_cgroup_whatever_the_path_says(tmp_path: Path, path: str) -> None:
    root = tmp_path / "cgroup"
    second(root, current=300, limit="800")
    found = open_cgroup(root, membership(tmp_path, f"0::{path}"))

    assert found is not None
    assert (found.limit(), found.charged()) == (800, 300)
    found.close()


@pytest.mark.case("L-284")
@pytest.mark.parametrize(("limit", "seen"), [("800\n", 800), (UNLIMITED_FIRST, None)])
def test_version_1_is_read_where_version_2_does_not_have_the_memory(
    tmp_path: Path, limit: str, seen: int | None
) -> None:
    root = tmp_path / "cgroup"
    stat = f"cache {90 * MIB}\ntotal_rss 0\ntotal_inactive_file {40 * MIB}\ntotal_active_file {50 * MIB}\n"
    first(root / "memory", usage=0, limit=UNLIMITED_FIRST)
    first(root / "memory/docker/abc", usage=100 * MIB, limit=limit, stat=stat)
    lines = ("12:pids:/docker/abc", "4:cpu,memory:/docker/abc", "0::/")
    found = open_cgroup(root, membership(tmp_path, *lines))

    assert found is not None
    assert (found.limit(), found.charged(), found.used()) == (seen, 100 * MIB, 10 * MIB)
    found.close()


@pytest.mark.case("L-284")
def test_the_cache_of_files_and_what_others_have_does_not_count_and_ours_does(tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    stat = f"anon {2000 * MIB}\ninactive_file {100 * MIB}\nactive_file {50 * MIB}\nslab_reclaimable {7 * MIB}\n"
    second(root, current=2300 * MIB, limit="max", stat=stat)
    found = open_cgroup(root, membership(tmp_path, "0::/"))

    assert found is not None
    _, resident, shared = (int(each) for each in Path("/proc/self/statm").read_text().split()[:3])
    ours = (resident - shared) * os.sysconf("SC_PAGE_SIZE")
    assert abs(found.used() - (143 * MIB + ours)) < 16 * MIB  # 2,300 less 157 of files less the 2,000 of all, and ours
    found.close()


@pytest.mark.case("L-284")
def test_without_a_cgroup_there_is_no_limit(tmp_path: Path) -> None:
    assert open_cgroup(tmp_path / "nothing", tmp_path / "nothing") is None
    assert open_cgroup(written(tmp_path / "root", cgroup__controllers=""), membership(tmp_path, "0::/")) is None


@pytest.mark.case("D-180")
@pytest.mark.parametrize(("limit", "share"), [(None, 64 * MIB), (64 * MIB, 8 * MIB), (4096 * MIB, 64 * MIB)])
def test_kept_bodies_may_take_an_eighth_of_the_limit(limit: int | None, share: int) -> None:
    assert replay_memory(Limits(), limit) == share
