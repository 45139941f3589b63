import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from itertools import chain

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.house import tree

LOCKS = sorted(path.name for path in tree.ROOT.glob("requirements*.lock"))
PACKAGES = packages_distributions()
STANDARD = sys.stdlib_module_names
PROJECT = tomllib.loads((tree.ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def entries(lock):
    """Return {name: (requirement, number of hashes)} of one lock file."""
    found = {}
    text = (tree.ROOT / lock).read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        if line and not line.lstrip().startswith("#"):
            wanted, *hashes = re.split(r"\s+--hash=", line.strip())
            requirement = Requirement(wanted)
            found[canonicalize_name(requirement.name)] = (requirement, hashes)
    return found


def group(name):
    """Return the requirements of one dependency group, with those of the groups it includes."""
    items = PROJECT["dependency-groups"][name]
    nested = [group(item["include-group"]) if isinstance(item, dict) else [Requirement(item)] for item in items]
    return list(chain.from_iterable(nested))


# The image has the extras, too.
RUN = [
    Requirement(line)
    for line in chain(PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"].values())
]
DIRECT = {
    "requirements.lock": RUN,
    "requirements-accelerate.lock": group("accelerate"),
    "requirements-build.lock": group("build"),
    "requirements-dev.lock": [*RUN, *group("dev")],
    "requirements-fuzz.lock": group("fuzz"),
}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_every_package_to_one_version_and_its_hashes(lock):
    pinned = entries(lock)

    assert pinned
    for requirement, hashes in pinned.values():
        assert [clause.operator for clause in requirement.specifier] == ["=="], requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in hashes), requirement
        assert hashes, requirement


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_does_not_say_where_packages_come_from(lock):
    text = (tree.ROOT / lock).read_text(encoding="utf-8")

    assert re.findall(r"(?:^|\s)(?:--?\S*(?:index|link|host)\S*|\w+://\S+)", text) == []


@pytest.mark.parametrize("lock", DIRECT)
def test_a_lock_holds_what_the_project_asks_for(lock):
    pinned = entries(lock)

    for wanted in DIRECT[lock]:
        requirement, _ = pinned[canonicalize_name(wanted.name)]
        (clause,) = requirement.specifier
        assert wanted.specifier.contains(clause.version), wanted
        assert wanted.marker is None or wanted.marker.evaluate({**default_environment()}), wanted


def test_development_uses_the_very_versions_that_run():
    development = entries("requirements-dev.lock")

    for lock in ("requirements.lock", "requirements-accelerate.lock", "requirements-build.lock"):
        for name, (requirement, hashes) in entries(lock).items():
            assert development[name][0].specifier == requirement.specifier, name
            assert development[name][1] == hashes, name


def test_every_dependency_has_its_sentence():
    page = (tree.ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    names = {wanted.name for wanted in [*DIRECT["requirements.lock"], *group("dev"), *group("fuzz")]}

    assert [name for name in sorted(names) if f"`{name}`" not in page] == []


def imported(folder):
    """Return what a folder imports from outside the standard library, each with the packages that bring it."""
    tops = set()
    for path in tree.files(".py", under=folder):
        for node in ast.walk(tree.syntax(path)):
            if isinstance(node, ast.Import):
                tops |= {alias.name.partition(".")[0] for alias in node.names}
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                tops.add((node.module or "").partition(".")[0])
    ours = {
        "proxy",
        "tests",
        "bench",
        "pages",
        "hatch_build",
        "mypy_extensions",
    }  # the last for a type checker alone (proxy/form.py)
    # Several packages may share one name, as those of OpenTelemetry do.
    return {top: {canonicalize_name(name) for name in PACKAGES.get(top, [top])} for top in tops - ours - STANDARD}


@pytest.mark.parametrize(("folder", "asked"), [("proxy", "requirements.lock"), ("tests", "requirements-dev.lock")])
def test_what_is_imported_is_asked_for(folder, asked):
    wanted = {canonicalize_name(requirement.name) for requirement in DIRECT[asked]}

    assert [top for top, packages in imported(folder).items() if not packages & wanted] == []
