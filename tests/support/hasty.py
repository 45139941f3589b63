"""The product with a quick heartbeat: `python -m tests.support.hasty '{"every": 0.1, "hung": 3}' run …`.

What is given are seconds of `proxy.runtime.workers.heartbeat.Rhythm`. The loop of a worker that gets SIGUSR1 stands
still from then on. But for that it is `python -m proxy`.
"""

from __future__ import annotations

import json
import signal
import sys
import threading

from proxy.runtime.workers.heartbeat import Rhythm
from proxy.runtime.workers.start import Shared


def main(words: list[str]) -> int:
    """Give the seconds, then be the product."""
    Shared.rhythm = Rhythm(**json.loads(words[0]))
    if words[1] == "worker":
        signal.signal(signal.SIGUSR1, lambda *_: threading.Event().wait())
    from proxy.cli.main import main as product

    return product(words[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
