"""A verb at a terminal of its own, typed at as a human does."""

import asyncio
import os
import pty
import sys

from tests.cli.command import ROOT, Done
from tests.support.deadline import awaiting

# Without a terminal that it owns nobody's Ctrl-C reaches it; and what a shell starts in the background ignores it.
_OWNING = (
    "import fcntl, signal, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from proxy.cli.main import main; sys.exit(main(sys.argv[1:]))"
)


async def at_terminal(*arguments, keys, cwd):
    """Run one verb on a new terminal and type the next of `keys` at each prompt; `out` is all that was shown."""
    ours, theirs = pty.openpty()
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _OWNING, *arguments,
        stdin=theirs, stdout=theirs, stderr=theirs, cwd=cwd, start_new_session=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TERM": "dumb", "COLUMNS": "200", "LANG": "C.UTF-8"},
    )  # fmt: skip
    os.close(theirs)
    reading = asyncio.create_task(asyncio.to_thread(typed, ours, keys), name="what the terminal shows")
    try:
        async with awaiting(f"the end of {arguments}", 40):
            status = await running.wait()
    finally:
        if running.returncode is None:  # it asks for more than was to be typed
            running.kill()
        shown = await reading
        os.close(ours)
    return Done(status, shown, "")


def typed(terminal, keys):
    """Answer each prompt, which ends with a colon and a space; return all that was shown."""
    seen, shown = b"", b""
    left = list(keys)
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # how Linux says that the other side is gone
            return seen.decode()
        seen, shown = seen + piece, shown + piece
        if shown.endswith(b": ") and left:
            os.write(terminal, left.pop(0).encode())
            shown = b""
