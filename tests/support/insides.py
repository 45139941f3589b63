"""The product that says on SIGUSR1 what it holds: `python -m tests.support.insides run …`.

A line of JSON with the numbers of tasks, timers and objects that the collector sees. But for that it is `python -m
proxy`: there is nothing of the kind in the product, and a count from outside sees memory and files only.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from asyncio import Task
from collections import Counter


def _tell(*_: object) -> None:
    kinds = Counter(type(each) for each in gc.get_objects())
    tasks = sum(kinds[kind] for kind in kinds if issubclass(kind, Task))
    timers = sum(kinds[kind] for kind in kinds if kind.__name__ == "TimerHandle")  # the event loop has its own
    said = {"event": "insides", "tasks": tasks, "timers": timers, "objects": kinds.total()}
    os.write(2, json.dumps(said).encode() + b"\n")


def main(words: list[str]) -> int:
    """Be the product, and tell."""
    signal.signal(signal.SIGUSR1, _tell)
    from proxy.cli.main import main as product

    return product(words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
