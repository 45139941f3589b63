"""The machine the figures come from: its cores, its limits, and how the interpreter was built."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

# Asked of the interpreter that runs the product, which need not be the one that runs the bench.
_BUILD: Final = (
    "import json, platform, sys, sysconfig; "
    "names = ('CONFIG_ARGS', 'PY_CFLAGS', 'PY_LDFLAGS'); "
    "said = ' '.join(str(sysconfig.get_config_var(name) or '') for name in names); "
    "print(json.dumps({'version': platform.python_version(), 'compiler': platform.python_compiler(), "
    "'lto': '-flto' in said or '--with-lto' in said, "
    "'pgo': '--enable-optimizations' in said or '-fprofile-use' in said}))"
)


@dataclass(frozen=True, slots=True)
class Cores:
    """Where things run: load, upstream and token endpoint on one core, the proxy under test alone on the other."""

    load: int
    proxy: int


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A build of CPython. A build without link-time and profile-guided optimization costs about a fifth more."""

    path: str
    version: str
    compiler: str
    lto: bool
    pgo: bool

    def __str__(self) -> str:
        build = "its build names neither LTO nor PGO"
        if self.lto or self.pgo:
            build = " and ".join(name for name, on in (("LTO", self.lto), ("PGO", self.pgo)) if on)
        return f"CPython {self.version} ({build}; {self.compiler})"


def cores() -> Cores:
    """Return the first and the last core this process may use; on a single core all share it."""
    usable = sorted(os.sched_getaffinity(0))
    return Cores(usable[0], usable[-1])


def interpreter(path: str) -> Interpreter:
    """Ask the interpreter at `path` how it was built."""
    said = json.loads(subprocess.run([path, "-c", _BUILD], check=True, capture_output=True, text=True).stdout)
    return Interpreter(path, said["version"], said["compiler"], said["lto"], said["pgo"])


def raise_descriptor_limit() -> int:
    """Raise the soft limit on file descriptors to the hard one, for us and for what we start; return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def busy_seconds(core: int) -> float:
    """Return how long a core has been busy since the machine started: with everybody's work, ours included."""
    ticks = os.sysconf("SC_CLK_TCK")
    for line in Path("/proc/stat").read_text(encoding="ascii").splitlines():
        name, *fields = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[:8])
            return (user + nice + system + irq + softirq + steal) / ticks
    raise ValueError(f"/proc/stat has no core {core}")


def describe(used: Cores, build: Interpreter) -> dict[str, object]:
    """Return what a reader has to know beside the figures."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "core_of_proxy": used.proxy,
        "core_of_load_and_upstream": used.load,
        "kernel": platform.release(),
        "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "interpreter": {name: value for name, value in asdict(build).items() if name != "path"},
        "interpreter_in_words": str(build),
    }
