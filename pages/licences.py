"""The page of licences: whose work a running proxy brings along, and under which terms."""

from __future__ import annotations

from pages.packages import ACCEPTED, packages

_BEGINNING = """# Licences

iclient-proxy is under [Apache-2.0](../LICENSE). A running proxy brings along the packages of `requirements.lock`;
the image holds no others. `make reference` makes this page of the lock and of what the packages say of
themselves; a test is red where one says nothing, or names a licence that is not in the list below.

`make sbom` writes the same, with every hash that the lock admits, as CycloneDX 1.6 to `build/sbom.json`. Two runs with
one lock on one machine give the same bytes. A package whose marker is false on that machine is not in it.

Accepted, since they may be shipped with Apache-2.0 as they are: {accepted}. MPL-2.0 ends at its
own files, which are shipped unchanged. Other copyleft (GPL, AGPL, LGPL) is not in that list.

| package | version | licence (SPDX) | only where |
|---|---|---|---|
"""


def page() -> str:
    """Return the page."""
    rows = [
        f"| {f'[{each.name}]({each.home})' if each.home else each.name} | {each.version} | {each.licence or 'unknown'} "
        f"| {f'`{each.marker}`' if each.marker else ''} |"
        for each in packages()
    ]
    return _BEGINNING.format(accepted=", ".join(sorted(ACCEPTED))) + "\n".join(rows) + "\n"
