"""The files of the project as the house's tests see them: what a fresh clone has, without what tools leave behind."""

import ast
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEFT_BEHIND = {"node_modules", "__pycache__", "dist", "build", "results"}


def files(*suffixes: str, under: str = ".") -> Iterator[Path]:
    """Yield the files of the project below `under`, in name order; all of them, or those with one of `suffixes`."""
    for folder, folders, names in os.walk(ROOT / under):
        folders[:] = sorted(
            name
            for name in folders
            if name not in LEFT_BEHIND
            and not name.endswith(".egg-info")
            and (not name.startswith(".") or name == ".ci")
            and not (Path(folder) / name / "pyvenv.cfg").exists()
        )
        for name in sorted(names):
            if name.endswith(".so"):  # of `make accelerate`
                continue
            path = Path(folder) / name
            if not suffixes or path.suffix in suffixes:
                yield path


@cache
def modules() -> tuple[Path, ...]:
    """Return the modules of the product."""
    return tuple(files(".py", under="proxy"))


@cache
def syntax(path: Path) -> ast.Module:
    """Return the syntax tree of one file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def name(path: Path) -> str:
    """Return the path as the project writes it: from its root, with slashes."""
    return path.relative_to(ROOT).as_posix()


def dotted(path: Path) -> str:
    """Return the name by which a module is imported."""
    return name(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
