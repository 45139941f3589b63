"""The pages that are made of the product itself, and what the site is built with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pages import chart, commands, dashboard, definitions, faults, licences, metrics, problems

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Where each page lies, and what makes it.
REFERENCE: Final[Mapping[str, Callable[[], str]]] = {
    "docs/reference/definitions.md": definitions.page,
    "docs/reference/command-line.md": commands.page,
    "docs/reference/problems.md": problems.page,
    "docs/reference/metrics.md": metrics.page,
    "helm/iclient-proxy/files/dashboard.json": dashboard.page,
    "helm/iclient-proxy/values.schema.json": chart.values_schema,
    "helm/iclient-proxy/templates/_providers.tpl": chart.providers,
    "helm/iclient-proxy/README.md": chart.readme,
    "docs/licences.md": licences.page,
    "docs/reference/faults.md": faults.page,
}
