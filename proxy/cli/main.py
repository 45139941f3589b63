"""The way in: which verb is meant, and what the shell is told when it fails.

Verbs that run beside an application or are run by an orchestrator (`run`, `health`, `version`) never load the terminal
libraries; the others go through `verbs`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LEAN: Final = ("run", "health", "version")
# What `run` starts; nobody else does.
INNER: Final = ("worker",)
# Verbs that read no definitions and no secret; all others are hardened first.
HARMLESS: Final = frozenset({"completion", "health", "providers", "schema", "version"})
# What shells make of a process that SIGINT ended.
_INTERRUPTED: Final = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb that `argv` names and return the exit status (see `failures`).

    A failure is a message on standard error; `--debug` before the verb adds a traceback to internal ones.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = arguments[:1] == ["--debug"]
    if debug:
        del arguments[0]
    try:
        if arguments and arguments[0] not in HARMLESS and not arguments[0].startswith("-"):
            from proxy.cli.hardening import harden

            harden()
        if arguments and arguments[0] in (*LEAN, *INNER):
            lean = cast("Callable[[Sequence[str]], int]", import_module(f"proxy.cli.{arguments[0]}").main)
            return lean(arguments[1:])
        from proxy.cli.verbs import call

        return call(arguments)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except Exception as error:  # noqa: BLE001  # the last one to hear of it
        from proxy.cli.failures import tell

        return tell(error, debug=debug)
