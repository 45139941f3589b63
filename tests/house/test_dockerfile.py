"""The image without an image builder: a linter reads the file, and the steps of its build stage run in a folder."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.conftest import program
from tests.house import tree

DOCKERFILE = tree.ROOT / "Dockerfile"


def instructions():
    """Return the stages of the Dockerfile: for each a list of (instruction, its text on one line)."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    stages = []
    for line in text.replace("\\\n", " ").splitlines():
        word, _, rest = line.partition(" ")
        if word == "FROM":
            stages.append([])
        if stages and word:
            stages[-1].append((word, " ".join(rest.split())))
    return stages


def values(stage, word):
    return [rest for instruction, rest in stage if instruction == word]


def pairs(stage):
    return dict(pair.split("=", 1) for rest in values(stage, "ENV") for pair in rest.split())


def build(folder):
    """Carry out the build stage below `folder`: COPY as copies, RUN by a shell, absolute places moved to `folder`."""
    stage = instructions()[0]
    source = folder / values(stage, "WORKDIR")[0].lstrip("/")
    source.mkdir(parents=True)
    environment = {**os.environ, **pairs(stage)}
    for word, rest in stage:
        if word == "COPY":
            *names, target = rest.split()
            for name in names:
                where = tree.ROOT / name
                if where.is_dir():
                    shutil.copytree(where, source / target, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(where, source / target)
        if word == "RUN" and not rest.startswith("apt-get"):  # this machine's Python stands for Debian's
            here = re.sub(r"(?<!\S)/opt/", f"{folder}/opt/", rest).replace("/usr/bin/python3", sys.executable)
            done = subprocess.run(
                ["/bin/sh", "-ec", here], cwd=source, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{here}\n{done.stdout}\n{done.stderr}"
    return folder / "opt" / "iclient-proxy"


def listing(folder):
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.needs("hadolint")
def test_a_linter_finds_nothing_in_the_dockerfile():
    found = subprocess.run(
        [program("hadolint"), "--format", "json", DOCKERFILE],
        capture_output=True,
        text=True,
        check=False,
    )

    assert json.loads(found.stdout) == []
    assert found.returncode == 0


def test_the_final_stage_runs_as_a_number_that_is_not_root_and_can_install_nothing():
    build_stage, final = instructions()

    assert values(final, "USER") == ["65532:65532"]
    assert values(final, "RUN") == []  # there is no shell
    assert values(final, "COPY") == ["--from=build /opt/iclient-proxy /opt/iclient-proxy"]
    assert values(build_stage, "FROM") == ["${BUILD_IMAGE} AS build"]
    assert values(final, "FROM") == ["${RUN_IMAGE}"]


def test_both_images_are_named_by_digest_and_are_the_same_debian():
    """An interpreter that is linked in one image has to be found in the other."""
    named = dict(re.findall(r"^ARG (\w+_IMAGE)=(\S+)$", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE))

    assert {re.sub(r"@sha256:[0-9a-f]{64}$", "", image) for image in named.values()} == {
        "debian:bookworm-slim",
        "gcr.io/distroless/python3-debian12:nonroot",
    }


def test_the_image_is_asked_for_its_health_by_our_own_command_and_stopped_by_sigterm():
    final = instructions()[1]

    (health,) = values(final, "HEALTHCHECK")
    assert json.loads(health.partition("CMD ")[2]) == ["iclient-proxy", "health"]
    assert values(final, "STOPSIGNAL") == ["SIGTERM"]
    assert json.loads(values(final, "ENTRYPOINT")[0]) == ["iclient-proxy"]
    assert json.loads(values(final, "CMD")[0]) == ["run"]


def test_the_builder_gets_what_it_copies_and_nothing_else():
    stage = instructions()[0]
    copied = {name for rest in values(stage, "COPY") for name in rest.split()[:-1]}
    ignore = (tree.ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()

    assert ignore[1] == "*"
    assert {line[1:] for line in ignore if line.startswith("!")} == copied


@pytest.mark.needs("package index")
@pytest.mark.timeout(300)
def test_the_steps_of_the_build_stage_install_a_proxy_that_runs_and_writes_nothing(tmp_path):
    installed = build(tmp_path)
    before = listing(installed)
    environment = {"PATH": f"{installed}/bin:/usr/bin:/bin", **pairs(instructions()[1])}
    environment["PATH"] = f"{installed}/bin:/usr/bin:/bin"

    version = subprocess.run(
        ["iclient-proxy", "version"], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert re.search(r"\b\d+\.\d+\.\d+\b", version.stdout)
    assert "data path compiled" in version.stdout
    assert listing(installed) == before
    assert [path.suffix for path in installed.rglob("scanner.*")].count(".so") == 1
    assert list(installed.rglob("scanner.c")) == []
    packages = next(installed.glob("lib/python3*/site-packages"))
    assert not (packages / "pip").exists()
    assert not (packages / "hatchling").exists()
    assert not (packages / "Cython").exists()
    uncompiled = [
        path
        for path in (packages / "proxy").rglob("*.py")
        if not list((path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"))
    ]
    assert uncompiled == []
