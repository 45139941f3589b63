"""Compiles the scanner of heads, for a wheel or in place, where somebody asks for it; nothing else needs a compiler.

`ICLIENT_PROXY_ACCELERATE=1` asks hatchling for a wheel that has it; without, the wheel is pure and runs everywhere.
`python hatch_build.py` (`make accelerate`) puts it beside its source, for tests and bench.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE: Final = Path("proxy/wire/scanner.pyx")
_ROOT: Final = Path(__file__).parent
# The wheel runs on every machine of its kind: nothing here says `-march=native`.
_FLAGS: Final = ("-O2", "-fPIC", "-fvisibility=hidden", "-fstack-protector-strong", "-DNDEBUG", "-g0")
_LINKED: Final = ("-shared", "-Wl,-z,relro,-z,now")


def compiled(root: Path, folder: Path) -> Path:
    """Compile the scanner into `folder`; raises `SystemExit` that says what is missing, or what a compiler said."""
    if find_spec("Cython") is None:
        raise SystemExit("The accelerator needs Cython: it is in requirements-build.lock")
    suffix: str = sysconfig.get_config_var("EXT_SUFFIX")
    made = folder.absolute() / (SOURCE.stem + suffix)
    compiler = shlex.split(os.environ.get("CC", "") or "cc")
    with tempfile.TemporaryDirectory() as scratch:
        c_file = Path(scratch) / f"{SOURCE.stem}.c"
        # From the root, and then from where the C is: so both name their source the same way on every machine.
        _run([sys.executable, "-m", "cython", "-3", "--no-docstrings", str(SOURCE), "-o", str(c_file)], root)
        include = sysconfig.get_path("include")
        _run([*compiler, *_FLAGS, *_LINKED, f"-I{include}", c_file.name, "-o", str(made)], c_file.parent)
    return made


def _run(words: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(words, cwd=folder, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        raise SystemExit(f"The accelerator needs a C compiler; there is no {words[0]} (CC=… names another)") from None
    if done.returncode:
        raise SystemExit(f"The accelerator does not compile (it needs Python's headers, too):\n{done.stderr}")


class AcceleratedWheel(BuildHookInterface):  # type: ignore[type-arg]
    """Puts the compiled scanner into the wheel, which is one for this Python and this machine then."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable" or os.environ.get("ICLIENT_PROXY_ACCELERATE") != "1":
            return
        self._folder = tempfile.TemporaryDirectory()
        made = compiled(Path(self.root), Path(self._folder.name))
        build_data["force_include"][str(made)] = f"{SOURCE.parent.as_posix()}/{made.name}"
        build_data["pure_python"] = False
        build_data["infer_tag"] = True


if __name__ == "__main__":
    sys.stdout.write(f"{compiled(_ROOT, _ROOT / SOURCE.parent).relative_to(_ROOT)}\n")
