"""What a failure means for the shell: an exit status of sysexits.h and a message on standard error."""

from __future__ import annotations

import os
import sys
import traceback

from proxy.cli.admin_client import AdminRefusalError, NotRunningError
from proxy.errors import DefinitionsError, MachineError, Refusal

_USAGE = 2


class UsageError(Exception):
    """The command line names something that is not there."""


class InputError(Exception):
    """A file that a command was given is not what it should be."""


def tell(error: Exception, *, debug: bool = False) -> int:
    """Print what went wrong and return the exit status.

    0 fine, 2 usage, 65 input that is not what it should be, 69 no running proxy or no token to be had, 70 internal,
    71 the machine refuses, 78 definitions.
    """
    match error:
        case DefinitionsError(faults=faults):
            lines = [str(fault) for fault in faults]
            status = os.EX_CONFIG
        case MachineError():
            lines, status = [f"iclient-proxy: {error}"], os.EX_OSERR
        case NotRunningError():
            lines, status = [f"iclient-proxy: {error}"], os.EX_UNAVAILABLE
        case AdminRefusalError():
            lines, status = [f"iclient-proxy: {error}"], _USAGE if error.status == 404 else os.EX_UNAVAILABLE
        case Refusal():
            lines, status = [f"iclient-proxy: {error.problem.title}: {error.detail}"], os.EX_UNAVAILABLE
        case UsageError():
            lines, status = [f"iclient-proxy: {error}"], _USAGE
        case InputError():
            lines, status = [f"iclient-proxy: {error}"], os.EX_DATAERR
        case _:
            lines, status = _internal(error, debug=debug), os.EX_SOFTWARE
    sys.stderr.write("\n".join(lines) + "\n")
    return status


def _internal(error: Exception, *, debug: bool) -> list[str]:
    from proxy.observe.redact import Redactor

    lines = [f"iclient-proxy: internal error: {type(error).__name__}: {error}"]
    if debug:
        # Frames without locals; a library's message may still quote what it was given.
        lines = "".join(traceback.format_exception(error)).splitlines()
    else:
        lines.append("iclient-proxy: this is a mistake of ours; `iclient-proxy --debug COMMAND` shows where it arose")
    redact = Redactor()
    return [redact(line.encode("utf-8", "backslashreplace")).decode() for line in lines]
