"""Files that are mounted one by one (`subPath` of Kubernetes): what replaces them outside never arrives here. Pure."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

# proc_pid_mountinfo(5): the fifth field is the mount point; space, tab, line end and backslash are in octal.
_POINT: Final = re.compile(r"^\d+ \d+ \S+ \S+ (\S+)", re.MULTILINE)
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


def mounted_alone(mountinfo: str, paths: Iterable[str]) -> list[str]:
    """Return those of the absolute `paths`, without links in them, that are mount points."""
    points = {_OCTAL.sub(lambda found: chr(int(found[1], 8)), point) for point in _POINT.findall(mountinfo)}
    return [path for path in paths if os.path.normpath(path) in points]
