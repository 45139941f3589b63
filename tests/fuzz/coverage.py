"""`python -m tests.fuzz.coverage TARGET …`: one target under atheris, which follows the branches of the product.

The other words are libFuzzer's own. A process of its own, since libFuzzer ends the one in which it runs.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.fuzz.targets import target

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROOT: Final = Path(__file__).parents[2]
_RUNS: Final = re.compile(r"stat::number_of_executed_units: (\d+)")
_LENGTH_MAX: Final = 4096  # bytes of an input
_PATIENCE: Final = 20  # seconds that one input may take
_MEMORY: Final = 2048  # MiB


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of one target: inputs tried, inputs that break the rule, by their files; `said` is its own output."""

    tried: int
    broke: tuple[Path, ...]
    said: str


def available() -> bool:
    """Whether atheris is there; `make fuzz` installs it where it has a wheel."""
    return find_spec("atheris") is not None


def run(name: str, folder: Path, seconds: float, seed: int) -> Ran:
    """Run one target for so long; its corpus grows in `folder` and serves the next run."""
    corpus, broken = folder / "corpus" / name, folder / "broken"
    corpus.mkdir(parents=True, exist_ok=True)
    broken.mkdir(exist_ok=True)
    for number, data in enumerate(target(name).seeds):
        (corpus / f"seed-{number}").write_bytes(data)
    before = set(broken.iterdir())
    done = subprocess.run(
        [
            sys.executable, "-m", "tests.fuzz.coverage", name, str(corpus), f"-max_total_time={max(1, round(seconds))}",
            f"-seed={seed}", f"-max_len={_LENGTH_MAX}", f"-timeout={_PATIENCE}", f"-rss_limit_mb={_MEMORY}",
            f"-artifact_prefix={broken}/{name}-", "-print_final_stats=1", "-verbosity=0",
        ],
        cwd=_ROOT, capture_output=True, check=False,
    )  # fmt: skip
    said = (done.stdout + done.stderr).decode("utf-8", "replace")
    found = _RUNS.search(said)
    broke = tuple(sorted(set(broken.iterdir()) - before))
    if done.returncode and not broke:
        raise AssertionError(f"{name} did not run:\n{said[-2000:]}")
    return Ran(int(found[1]) if found else 0, broke, said)


def main(words: Sequence[str]) -> None:
    """Fuzz until libFuzzer's own options say that it is enough."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["proxy"]):
        made = target(words[1])
    atheris.Setup([words[0], *words[2:]], made.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
