"""The page of the command line: what each verb says of itself when it is asked for help."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Final

from pages.text import begun, code, table
from proxy.cli.verbs import VERBS

_ABOUT: Final = """\
What `--help` says, verb by verb. `status`, `authorize`, `renew`, `revoke`, `ping`, `request` and `reload` speak to the
admin listener of a proxy that runs: that of `--admin`, else of `ICLIENT_PROXY_ADMIN`, else of the definitions."""
_STATUSES: Final = (
    (0, "fine"),
    (2, "the command line makes no sense, or names something that is not there"),
    (65, "a file that was given is not what it should be"),
    (69, "no proxy runs there, or there is no token to be had"),
    (70, "a mistake of ours"),
    (71, "the machine refuses: a port that is taken, a folder that can't be written"),
    (78, "the definitions have a fault"),
    (130, "Ctrl-C"),
)
# Plain text of one width, whatever the terminal is.
_ENVIRONMENT: Final = {"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1", "TYPER_USE_RICH": "0"}


def page() -> str:
    """Return the page."""
    lines = begun("Command line", _ABOUT)
    lines += [
        "## Exit status",
        "",
        *table(("status", "means"), ((code(str(number)), what) for number, what in _STATUSES)),
    ]
    for name in VERBS:
        text = said(name)
        lines += [f"## {name}", "", *_shown(text)]
        for below in _below(text):
            lines += [f"### {name} {below}", "", *_shown(said(name, below))]
    return "\n".join(lines).rstrip() + "\n"


def said(*words: str) -> str:
    """Return the help of one verb."""
    return subprocess.run(  # noqa: S603  # our own interpreter and module
        [sys.executable, "-m", "proxy", *words, "--help"],
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": os.environ.get("PATH", os.defpath)} | _ENVIRONMENT,
    ).stdout


def _shown(text: str) -> list[str]:
    return ["```text", text.strip(), "```", ""]


def _below(text: str) -> list[str]:
    """Return the verbs that a verb has of its own, from its help."""
    return re.findall(r"^  ([a-z-]+)  ", text.partition("\nCommands:\n")[2], re.MULTILINE)
