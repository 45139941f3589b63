"""The wheel and the source distribution: the same bytes of the same tree, and in them the product alone."""

import os
import subprocess
import sys
import tarfile
import zipfile

import pytest

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

    beside = {"CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml"}
    assert names - product() - beside - {".gitignore"} == set()
    assert product() | beside <= names
