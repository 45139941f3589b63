"""What comes from others: by hash and by wheel wherever it is installed, under licences that are known, on a bill."""

import json
import re
import subprocess
import sys
import tomllib
from email.message import Message
from importlib.metadata import PackageNotFoundError, metadata

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from pages.packages import ACCEPTED, ELSEWHERE, is_accepted, licence_of, packages
from pages.sbom import bill
from tests.house import tree

INSTALLERS = ("Makefile", "Dockerfile", ".ci/run")
PROJECT = tomllib.loads((tree.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def commands():
    """Yield every command that installs or builds a Python package, on one line, with the file that has it."""
    for name in INSTALLERS:
        text = (tree.ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
        lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
        for part in (part for line in lines for part in re.split(r"&&|;", line)):
            if re.search(r"^(?!\w+ =).*(\bpip( --\S+ \S+)? (install|wheel|download)\b|\$\(PIP_INSTALL\))", part):
                yield name, " ".join(part.split())


# By hash, and as wheels


def test_packages_are_installed_by_their_hashes_or_not_from_an_index_at_all():
    found = list(commands())
    careless = [
        (name, line)
        for name, line in found
        if not re.search(r"--require-hashes|--no-index|--no-deps --no-build-", line)
    ]

    assert len(found) >= 8
    assert careless == []


def test_nothing_is_run_to_install_a_package_of_others():
    """A source distribution runs its own code when it is installed; a wheel is unpacked."""
    hashed = [(name, line) for name, line in commands() if "--require-hashes" in line]

    assert [found for found in hashed if "--only-binary=:all:" not in found[1]] == []


def test_nothing_is_run_to_install_the_peer_of_the_tests():
    text = (tree.ROOT / ".ci" / "run").read_text(encoding="utf-8")

    assert re.findall(r"\bnpm (?!ci\b|npm\b)\w+", text) == []
    assert all("--ignore-scripts" in line for line in text.splitlines() if "npm ci" in line)


# Licences


def described(**fields):
    message = Message()
    for name, values in fields.items():
        for value in [values] if isinstance(values, str) else values:
            message[name.replace("_", "-")] = value
    return message


def test_every_package_of_a_running_proxy_has_a_licence_that_may_be_shipped():
    assert [(each.name, each.licence) for each in packages() if not is_accepted(each.licence)] == []
    assert PROJECT["license"] == "Apache-2.0"
    assert is_accepted(PROJECT["license"])


@pytest.mark.parametrize("name", sorted(ELSEWHERE))
def test_what_is_known_beforehand_is_what_the_package_says_where_it_is_installed(name):
    try:
        said = licence_of(metadata(name))
    except PackageNotFoundError:
        said = ELSEWHERE[name]

    assert said == ELSEWHERE[name]
    assert next(each for each in packages() if each.name == name).marker


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ({"License_Expression": "MIT"}, "MIT"),
        ({"License_Expression": "apache-2.0 or bsd-3-clause"}, "Apache-2.0 OR BSD-3-Clause"),
        (
            {"License_Expression": "GPL-3.0-only", "Classifier": "License :: OSI Approved :: MIT License"},
            "GPL-3.0-only",
        ),
        ({"License": "Apache-2.0"}, "Apache-2.0"),
        ({"License": "ISC License"}, "ISC"),
        ({"Classifier": ["Typing :: Typed", "License :: OSI Approved :: MIT License"]}, "MIT"),
        ({"License": "See LICENSE", "Classifier": "License :: OSI Approved :: BSD License"}, "BSD-3-Clause"),
        (
            {
                "License": "MIT License",
                "Classifier": [
                    "License :: OSI Approved :: MIT License",
                    "License :: OSI Approved :: Apache Software License",
                ],
            },
            "Apache-2.0 OR MIT",
        ),
        ({}, ""),
        ({"License": "Proprietary, ask us"}, ""),
        ({"License_Expression": "My Own 1.0"}, ""),
        ({"Classifier": "License :: OSI Approved :: GNU Affero General Public License v3"}, ""),
    ],
)
def test_metadata_of_every_age_come_to_one_expression_or_to_none(fields, licence):
    assert licence_of(described(**fields)) == licence


@pytest.mark.parametrize(
    ("expression", "accepted"),
    [
        ("MIT", True),
        ("Apache-2.0 AND MIT", True),
        ("GPL-3.0-only OR MIT", True),
        ("(MIT OR GPL-2.0-only) AND BSD-3-Clause", True),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("", False),
        ("GPL-3.0-or-later", False),
        ("AGPL-3.0-only", False),
        ("LGPL-3.0-only", False),
        ("MPL-2.0", True),
        ("EUPL-1.2", False),
        ("MIT AND GPL-3.0-only", False),
        ("GPL-3.0-only AND MIT", False),
        ("GPL-2.0-only OR AGPL-3.0-only", False),
        ("MIT OR", False),
        ("(MIT", False),
        ("MIT)", False),
        ("LicenseRef-Own", False),
    ],
)
def test_all_that_is_joined_by_and_has_to_be_accepted_and_one_of_what_is_joined_by_or(expression, accepted):
    assert is_accepted(expression) is accepted


def test_no_copyleft_is_accepted_by_default():
    assert [name for name in ACCEPTED if re.match(r"A?L?GPL|EPL|CDDL|EUPL|SSPL|CC-BY-SA", name)] == []


# The bill of materials


def test_the_bill_holds_what_the_lock_pins_here_with_version_licence_and_hashes():
    components = {each["name"]: each for each in bill({})["components"]}
    pinned = {each.name: each for each in packages() if each.applies}

    assert set(components) == set(pinned)
    assert len(components) > 30
    for name, package in pinned.items():
        component = components[name]
        assert component["version"] == package.version
        assert component["purl"] == f"pkg:pypi/{name}@{package.version}"
        assert component["licenses"] == [{"expression": package.licence}]
        assert [each["content"] for each in component["hashes"]] == list(package.hashes)
        assert package.hashes


def test_what_is_installed_here_are_the_versions_of_the_bill():
    assert {each["name"]: metadata(each["name"])["Version"] for each in bill({})["components"]} == {
        each["name"]: each["version"] for each in bill({})["components"]
    }


def test_the_bill_keeps_to_its_schema():
    text = json.dumps(bill({"SOURCE_DATE_EPOCH": "1767323045"}))

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text.replace("SHA-256", "SHA-257")) is not None


def test_every_need_on_the_bill_is_on_the_bill_and_everything_is_needed_by_something():
    found = bill({})
    needs = {each["ref"]: set(each["dependsOn"]) for each in found["dependencies"]}
    refs = {each["bom-ref"] for each in found["components"]}
    own = found["metadata"]["component"]["bom-ref"]

    assert set(needs) == refs | {own}
    reached, pending = set(), [own]
    while pending:
        reached.add(one := pending.pop())
        pending += needs[one] - reached
    assert reached == refs | {own}


def test_the_bill_has_the_same_bytes_every_time_and_a_time_only_where_one_is_given(tmp_path):
    paths = [tmp_path / "1" / "sbom.json", tmp_path / "2" / "sbom.json"]
    for path in paths:
        subprocess.run([sys.executable, "-m", "pages.sbom", path], cwd=tree.ROOT, check=True, capture_output=True)
    first, second = (path.read_bytes() for path in paths)

    assert first == second
    assert "timestamp" not in bill({})["metadata"]
    assert bill({"SOURCE_DATE_EPOCH": "1767323045"})["metadata"]["timestamp"] == "2026-01-02T03:04:05Z"
    assert json.loads(first)["serialNumber"] == bill({})["serialNumber"]
    assert bill({})["serialNumber"] != bill({"SOURCE_DATE_EPOCH": "1"})["serialNumber"]


# Security lint


def test_every_exception_from_the_security_lint_names_its_rule_and_has_its_reason():
    bare = []
    for path in tree.modules():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if "nosec" not in line:
                continue
            named = re.search(r"# nosec B\d{3}(?: # \S+ \S+.*)?$", line)
            reason = re.search(r"# noqa: S\d{3} \S+ \S+.*  # nosec B\d{3}$|# nosec B\d{3} # \S+ \S+", line)
            if not (named and reason):
                bare.append(f"{tree.name(path)}:{number}")

    assert bare == []
