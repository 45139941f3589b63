"""The wheel and the source distribution: the same bytes of the same tree, and in them the product alone."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

import hatch_build
from tests.house import tree

BUILD = """
import sys
from hatchling.build import build_sdist, build_wheel
print(build_wheel(sys.argv[1]), build_sdist(sys.argv[1]), sep="\\n")
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Two folders, each with what one build has made."""
    folders = []
    for number in (1, 2):
        folder = tmp_path_factory.mktemp(f"build-{number}")
        # hatchling builds in this very process; nothing is fetched. Another umask, zone and language may not matter.
        environment = {**os.environ, "SOURCE_DATE_EPOCH": "1767323045", "TZ": ("UTC", "Asia/Tokyo")[number - 1]}
        subprocess.run(
            [sys.executable, "-c", BUILD, folder],
            cwd=tree.ROOT,
            env=environment,
            umask=(0o022, 0o002)[number - 1],
            check=True,
            capture_output=True,
        )
        folders.append(folder)
    return folders


def product():
    """Return the files of the product as they lie in the tree."""
    return {tree.name(path) for path in tree.files(under="proxy") if path.suffix != ".pyc"}


@pytest.mark.parametrize("suffix", ["whl", "tar.gz"])
def test_two_builds_of_one_tree_have_the_same_bytes(built, suffix):
    [one], [two] = ([path.read_bytes() for path in folder.glob(f"*.{suffix}")] for folder in built)

    assert one == two


def test_the_wheel_holds_the_product_and_its_metadata(built):
    [wheel] = built[0].glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())

    metadata = {name for name in names if ".dist-info/" in name}
    assert names - metadata == product()
    assert {name.partition("/")[2] for name in metadata} == {
        "METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE",
    }  # fmt: skip
    assert "proxy/py.typed" in names


def test_the_wheel_runs_on_every_platform_and_asks_for_what_the_project_asks_for(built):
    [wheel] = built[0].glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        described = next(opened.read(name).decode() for name in opened.namelist() if name.endswith("/METADATA"))

    assert wheel.name.endswith("-py3-none-any.whl")
    assert "License-Expression: Apache-2.0" in described
    assert "Requires-Python: >=3.11" in described
    assert "Classifier: Typing :: Typed" in described


def test_the_source_holds_what_the_wheel_is_made_of_and_nothing_else(built):
    [source] = built[0].glob("*.tar.gz")
    with tarfile.open(source) as opened:
        names = {member.name.partition("/")[2] for member in opened.getmembers() if member.isfile()}

    beside = {"CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md", "hatch_build.py", "pyproject.toml"}
    assert names - product() - beside - {".gitignore"} == set()
    assert product() | beside <= names


# With the compiled data path


@pytest.fixture(scope="module")
def accelerated(tmp_path_factory):
    """Two wheels that were asked to have it, each from a copy of the tree at another place."""
    folders = []
    for number in (1, 2):
        copied, folder = tmp_path_factory.mktemp(f"tree-{number}"), tmp_path_factory.mktemp(f"wheel-{number}")
        for name in ("CHANGELOG.md", "LICENSE", "README.md", "hatch_build.py", "pyproject.toml"):
            shutil.copy(tree.ROOT / name, copied)
        shutil.copytree(tree.ROOT / "proxy", copied / "proxy", ignore=shutil.ignore_patterns("__pycache__"))
        environment = {**os.environ, "SOURCE_DATE_EPOCH": "1767323045", "ICLIENT_PROXY_ACCELERATE": "1"}
        subprocess.run(
            [sys.executable, "-c", BUILD, folder], cwd=copied, env=environment, check=True, capture_output=True
        )
        folders.append(folder)
    return folders


@pytest.mark.needs("accelerator")
@pytest.mark.timeout(300)  # two compilations
def test_a_wheel_that_is_asked_to_has_what_is_compiled_beside_its_sources_and_is_one_for_this_python(accelerated):
    [wheel] = accelerated[0].glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        names = {name for name in opened.namelist() if ".dist-info/" not in name}

    stems = {name.partition(".")[0] for name in names - product()}
    sources = {path.with_suffix("").as_posix() for path in (hatch_build.SCANNER, *hatch_build.MODULES)}
    assert stems == sources | {"proxy/data_path__mypyc"}
    assert all(".cpython-" in name and name.endswith(".so") for name in names - product())
    assert product() <= names
    assert f"-cp3{sys.version_info.minor}-cp3{sys.version_info.minor}-linux_" in wheel.name


@pytest.mark.needs("accelerator")
@pytest.mark.timeout(300)  # two compilations
def test_two_such_wheels_have_the_same_bytes(accelerated):
    one, two = ([path.read_bytes() for path in folder.glob("*.whl")] for folder in accelerated)

    assert one == two


def test_a_compiler_that_is_missing_is_named():
    done = subprocess.run(
        [sys.executable, "hatch_build.py"],
        cwd=tree.ROOT,
        env={**os.environ, "CC": "no-such-compiler"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "no-such-compiler" in done.stderr
    assert "Traceback" not in done.stderr
