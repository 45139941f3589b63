"""`python -m pages.sbom PATH`: what a running proxy is made of, CycloneDX 1.6 as JSON; the same bytes every time."""

from __future__ import annotations

import json
import os
import sys
import tomllib
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pages.packages import packages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pages.packages import Package

ROOT: Final = Path(__file__).parents[1]
# Names the bills of this project; a bill's own number is made from it and from all that the bill holds.
_NAMESPACE: Final = uuid.UUID("2f6f2d0e-6c6b-5d0f-9d57-0a6b6a6f7e11")


def bill(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the bill. It bears a time only where `SOURCE_DATE_EPOCH` says which."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    here = [package for package in packages() if package.applies]
    purls = {package.name: _purl(package.name, package.version) for package in here}
    own = _purl(project["name"], project["version"])
    extras = project.get("optional-dependencies", {}).values()
    direct = [Requirement(line) for lines in (project["dependencies"], *extras) for line in lines]
    about: dict[str, Any] = {
        "component": {
            "type": "application",
            "bom-ref": own,
            "name": project["name"],
            "version": project["version"],
            "description": project["description"],
            "licenses": [{"expression": project["license"]}],
            "purl": own,
        },
        "properties": [{"name": "made-from", "value": "requirements.lock"}],
    }
    if "SOURCE_DATE_EPOCH" in environment:
        made = datetime.fromtimestamp(int(environment["SOURCE_DATE_EPOCH"]), UTC)
        about = {"timestamp": made.strftime("%Y-%m-%dT%H:%M:%SZ"), **about}
    found: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": about,
        "components": [_component(package, purls[package.name]) for package in here],
        "dependencies": [
            {"ref": own, "dependsOn": sorted(purls[canonicalize_name(wanted.name)] for wanted in direct)},
            *(
                {"ref": purls[package.name], "dependsOn": [purls[name] for name in package.needs if name in purls]}
                for package in here
            ),
        ],
    }
    number = uuid.uuid5(_NAMESPACE, json.dumps(found, sort_keys=True))
    return {**found, "serialNumber": f"urn:uuid:{number}"}


def _component(package: Package, purl: str) -> dict[str, Any]:
    made: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": package.name,
        "version": package.version,
        # One for each file of this version that the lock admits: wheels of every platform, and the source.
        "hashes": [{"alg": "SHA-256", "content": digest} for digest in package.hashes],
        "purl": purl,
    }
    if package.licence:
        made["licenses"] = [{"expression": package.licence}]
    if package.home:
        made["externalReferences"] = [{"type": "website", "url": package.home}]
    return made


def _purl(name: str, version: str) -> str:
    return f"pkg:pypi/{name}@{version}"


def main(words: list[str]) -> int:
    """Write the bill to the path given, or to standard output."""
    text = json.dumps(bill(os.environ), indent=2, ensure_ascii=False) + "\n"
    if not words:
        sys.stdout.write(text)
        return 0
    path = Path(words[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
