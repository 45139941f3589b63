"""The packages that a running proxy brings along: pinned by the lock, described by their own metadata."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet
    from email.message import Message

LOCK: Final = Path(__file__).parents[1] / "requirements.lock"

# How older metadata spells what SPDX has an identifier for.
_SPELT: Final = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2.0": "Apache-2.0",
    "isc license": "ISC",
    "mit license": "MIT",
    "psfl": "PSF-2.0",
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: BSD License": "BSD-3-Clause",
    "License :: OSI Approved :: ISC License (ISCL)": "ISC",
    "License :: OSI Approved :: MIT License": "MIT",
    "License :: OSI Approved :: Python Software Foundation License": "PSF-2.0",
}
# What most machines do not install, since a marker of the lock is false there; checked where it is installed.
ELSEWHERE: Final = {"async-timeout": "Apache-2.0", "colorama": "BSD-3-Clause"}
# What may be shipped with software under Apache-2.0 as it is: permissive licences, each one looked at; and
# MPL-2.0, whose terms end at its own files (§3.3): they are shipped unchanged.
ACCEPTED: Final = frozenset(
    {
        "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "MPL-2.0", "PSF-2.0", "Python-2.0",
        "Zlib",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Package:
    """One line of the lock. `licence` is an SPDX expression, "" where nothing says which; `needs` are in the lock."""

    name: str
    version: str
    hashes: tuple[str, ...]
    marker: str
    licence: str
    home: str
    needs: tuple[str, ...] = ()

    @property
    def applies(self) -> bool:
        """It is installed on this machine."""
        return not self.marker or Requirement(f"x; {self.marker}").marker.evaluate()  # type: ignore[union-attr]


def packages(lock: str | None = None) -> list[Package]:
    """Return the packages of the lock, in its order; what is not installed here is known by the lock alone."""
    lines = (LOCK.read_text(encoding="utf-8") if lock is None else lock).replace("\\\n", " ").splitlines()
    pinned = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    requirements = [(Requirement(re.split(r"\s+--hash", line)[0]), line) for line in pinned]
    known = {canonicalize_name(requirement.name) for requirement, _ in requirements}
    return [_package(requirement, line, known) for requirement, line in requirements]


def _package(requirement: Requirement, line: str, known: AbstractSet[str]) -> Package:
    name = canonicalize_name(requirement.name)
    (clause,) = requirement.specifier
    needs: tuple[str, ...] = ()
    licence, home = ELSEWHERE.get(name, ""), ""
    if name not in ELSEWHERE:
        with suppress(PackageNotFoundError):  # its licence is unknown then, which a test tells
            described = cast("Message", metadata(name))
            licence, home = licence_of(described), _home(described)
            wanted = {canonicalize_name(need) for need in _needs(described.get_all("Requires-Dist"))}
            needs = tuple(sorted(known & wanted))
    hashes = tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})", line))
    return Package(name, clause.version, hashes, str(requirement.marker or ""), licence, home, needs)


def licence_of(described: Message) -> str:
    """Return what metadata says about the licence as an SPDX expression; "" where it says nothing that is known."""
    expression = described.get("License-Expression")
    if expression:
        return _spdx(expression)
    told = [described.get("License") or "", *sorted(described.get_all("Classifier") or ())]
    classifiers = [_SPELT[line] for line in told if line in _SPELT and line.startswith("License ::")]
    if len(set(classifiers)) > 1:  # two classifiers are a choice, as the packages that have them say in their texts
        return _spdx(" OR ".join(sorted(set(classifiers))))
    return _spdx(_SPELT.get(told[0].lower(), told[0])) or (_spdx(classifiers[0]) if classifiers else "")


def _spdx(text: str) -> str:
    try:
        return str(canonicalize_license_expression(text))
    except InvalidLicenseExpression:
        return ""


def _home(described: Message) -> str:
    lines = (line.partition(",") for line in described.get_all("Project-URL") or ())
    found = {name.strip().lower(): address.strip() for name, _, address in lines}
    for name in ("source", "source code", "repository", "github", "code", "homepage", "home"):
        if name in found:
            return found[name]
    return str(described.get("Home-page") or next(iter(found.values()), ""))


def _needs(lines: Iterable[str] | None) -> list[str]:
    wanted = [Requirement(line) for line in lines or ()]
    environment = cast("dict[str, str]", {**default_environment(), "extra": ""})
    return [one.name for one in wanted if one.marker is None or one.marker.evaluate(environment)]


def is_accepted(expression: str) -> bool:
    """Whether a licence may be shipped: each of what is joined by AND, one of what is joined by OR; unknown is not."""
    if not _spdx(expression):
        return False
    words = re.findall(r"[()]|[^()\s]+", expression)

    def any_of() -> bool:
        accepted = all_of()
        while words and words[0] == "OR":
            words.pop(0)
            accepted = all_of() or accepted
        return accepted

    def all_of() -> bool:
        accepted = one()
        while words and words[0] == "AND":
            words.pop(0)
            accepted = one() and accepted
        return accepted

    def one() -> bool:
        word = words.pop(0)
        if word == "(":
            accepted = any_of()
            words.pop(0)
            return accepted
        if words and words[0] == "WITH":  # an exception only permits more
            del words[:2]
        return word in ACCEPTED

    return any_of()
