"""Compiles the data path, for a wheel or in place, where somebody asks for it; nothing else needs a compiler.

`ICLIENT_PROXY_ACCELERATE=1` asks hatchling for a wheel that has it; without, the wheel is pure and runs everywhere.
`python hatch_build.py` (`make accelerate`) puts it beside its sources, for tests and bench.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir, redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

if TYPE_CHECKING:
    from collections.abc import Iterator

# By Cython: what is written for it alone.
SCANNER: Final = Path("proxy/wire/scanner.pyx")
# By mypyc, as one library: the modules through which every request passes, as they are.
MODULES: Final = tuple(
    Path(f"proxy/{name}.py")
    for name in (
        "exchange/aim", "exchange/flow", "exchange/in_chunks", "exchange/inject", "exchange/plan", "exchange/record",
        "exchange/rewrite", "exchange/route", "exchange/surroundings", "exchange/turned_away", "exchange/upload",
        "histogram", "inbound/connection", "inbound/reverse", "observe/access", "outbound/pool", "outbound/tls",
        "outbound/upstream", "wire/framing", "wire/names", "wire/reader", "wire/request", "wire/response",
    )
)  # fmt: skip
LIBRARY: Final = "proxy.data_path"
_ROOT: Final = Path(__file__).parent
# The wheel runs on every machine of its kind: nothing here says `-march=native`.
_FLAGS: Final = ("-O2", "-fwrapv", "-fPIC", "-fvisibility=hidden", "-fstack-protector-strong", "-DNDEBUG", "-g0", "-w")
_LINKED: Final = ("-shared", "-Wl,-z,relro,-z,now")


def compiled(root: Path, folder: Path) -> list[Path]:
    """Compile into `folder`, which gets the shape of `root`; return what was made, relative to it.

    Raises `SystemExit` that says what is missing, or what a compiler said.
    """
    missing = [name for name in ("Cython", "mypyc", "setuptools") if find_spec(name) is None]
    if missing:
        raise SystemExit(f"The accelerator needs {' and '.join(missing)}: see requirements-accelerate.lock")
    suffix: str = sysconfig.get_config_var("EXT_SUFFIX")
    folder = folder.absolute()
    with tempfile.TemporaryDirectory() as scratch, chdir(root):
        jobs = [*_by_cython(Path(scratch)), *_by_mypyc(Path(scratch))]
        made = [Path(*name.split(".")).with_suffix(suffix) for name, _ in jobs]
        for file in made:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as compilers:
            linked = [
                compilers.submit(_link, words, folder / file, Path(scratch))
                for (_, words), file in zip(jobs, made, strict=True)
            ]
        for each in linked:
            each.result()
    return made


def _by_cython(scratch: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the module's name and what the C compiler is to be given."""
    c_file = scratch / f"{SCANNER.stem}.c"
    _run([sys.executable, "-m", "cython", "-3", "--no-docstrings", str(SCANNER), "-o", str(c_file)])
    yield ".".join(SCANNER.with_suffix("").parts), [c_file.name]


def _by_mypyc(scratch: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the same for the library and for each of its modules, which only lead to it."""
    from mypyc.build import mypycify  # only here: hatchling loads this module for wheels without anything compiled, too

    # What they import need not be there for a wheel; types of it that are not known are taken as they come.
    words = ["--config-file=", "--ignore-missing-imports", *map(str, MODULES)]
    with redirect_stdout(StringIO()) as said:
        try:
            extensions = mypycify(words, group_name=LIBRARY, target_dir=str(scratch))
        except SystemExit:
            raise SystemExit(f"The accelerator does not compile:\n{said.getvalue()}") from None
    for extension in extensions:
        sources = [os.path.relpath(source, scratch) for source in extension.sources]
        yield extension.name, [*(f"-I{folder}" for folder in extension.include_dirs), "-I.", *sources]


def _link(words: list[str], made: Path, folder: Path) -> None:
    # From where the C is, which names it the same way on every machine.
    compiler = shlex.split(os.environ.get("CC", "") or "cc")
    include = sysconfig.get_path("include")
    _run([*compiler, *_FLAGS, *_LINKED, f"-I{include}", *words, "-o", str(made)], folder)


def _run(words: list[str], folder: Path | None = None) -> None:
    try:
        done = subprocess.run(words, cwd=folder, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        raise SystemExit(f"The accelerator needs a C compiler; there is no {words[0]} (CC=… names another)") from None
    if done.returncode:
        raise SystemExit(f"The accelerator does not compile (it needs Python's headers, too):\n{done.stderr}")


def outdated(root: Path = _ROOT) -> list[str]:
    """Return the sources that are newer than what was compiled from them; Python would not notice."""
    suffix: str = sysconfig.get_config_var("EXT_SUFFIX")
    pairs = [(root / source, (root / source).with_suffix(suffix)) for source in (SCANNER, *MODULES)]
    # Some of it compiled and some of it not is as bad.
    is_there = any(made.exists() for _, made in pairs)
    return [
        str(source.relative_to(root))
        for source, made in pairs
        if is_there and (not made.exists() or made.stat().st_mtime < source.stat().st_mtime)
    ]


class AcceleratedWheel(BuildHookInterface):  # type: ignore[type-arg]
    """Puts what is compiled into the wheel, which is one for this Python and this kind of machine then."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable" or os.environ.get("ICLIENT_PROXY_ACCELERATE") != "1":
            return
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        for file in compiled(Path(self.root), folder):
            build_data["force_include"][str(folder / file)] = file.as_posix()
        build_data["pure_python"] = False
        build_data["infer_tag"] = True


if __name__ == "__main__":
    made = compiled(_ROOT, _ROOT)
    sys.stdout.write(f"{len(made)} modules are compiled\n")
