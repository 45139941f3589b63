import os
import subprocess
import sys
from threading import Event, Thread

import pytest

from proxy.clock import SystemClock
from proxy.observe.sink import LineSink, SharedSink
from tests.observe.lines import Pipe


def test_lines_arrive_whole_and_in_order():
    pipe = Pipe()
    sink = LineSink(pipe.writing, SystemClock())
    received = []

    def read():
        with os.fdopen(pipe.reading, "rb") as stream:
            received.extend(stream)

    reader = Thread(target=read)
    reader.start()

    for number in range(5000):
        sink.write(b"line %d\n" % number)
    sink.close()
    os.close(pipe.writing)
    reader.join()

    assert received == [b"line %d\n" % number for number in range(5000)]
    assert sink.dropped == 0


def test_a_pipe_that_nobody_reads_holds_up_nobody_and_what_does_not_fit_is_counted():
    pipe = Pipe()
    sink = LineSink(pipe.writing, SystemClock(), capacity=100)
    line = b"x" * 1023 + b"\n"

    for _ in range(2000):
        sink.write(line)
    sink.close(patience=0.01)

    # 64 KiB in the pipe, 256 lines taken by the writer and a queue of 100 is all there is room for.
    assert sink.dropped >= 2000 - 64 - 256 - 100
    with os.fdopen(pipe.reading, "rb"):
        os.close(pipe.writing)


def test_dropped_lines_are_told_as_soon_as_somebody_reads_again():
    pipe = Pipe()
    sink = LineSink(pipe.writing, SystemClock(), capacity=2, gather=0)
    filler = os.fdopen(os.dup(pipe.writing), "wb", buffering=0)
    os.set_blocking(filler.fileno(), False)
    while filler.write(b"f" * 4096):
        pass
    os.set_blocking(filler.fileno(), True)
    filler.close()
    for _ in range(1000):
        sink.write(b"line\n")
    assert sink.dropped >= 900

    received = []
    enough = Event()

    def read():
        with os.fdopen(pipe.reading, "rb") as stream:
            for line in stream:
                received.append(line.lstrip(b"f"))
                if b"log_lines_dropped" in line:
                    enough.set()

    reader = Thread(target=read)
    reader.start()
    while not enough.is_set():
        sink.write(b"again\n")
        enough.wait(0.001)
    sink.close()
    os.close(pipe.writing)
    reader.join()

    told = [line for line in received if b"log_lines_dropped" in line]
    assert told[0].startswith(b'{"event":"log_lines_dropped","lines":')


def test_a_log_that_nobody_will_read_any_more_does_not_end_the_process():
    pipe = Pipe()
    sink = LineSink(pipe.writing, SystemClock(), gather=0)
    os.close(pipe.reading)

    while not sink.dropped:
        sink.write(b"line\n")
    sink.close()

    assert sink.dropped > 0
    os.close(pipe.writing)


@pytest.mark.case("L-287")
def test_a_full_disk_costs_lines_and_nothing_else():
    full = os.open("/dev/full", os.O_WRONLY)
    sink = LineSink(full, SystemClock(), gather=0)

    sink.write(b"line\n")
    sink.close()
    os.close(full)

    assert sink.dropped == 1


def test_a_sink_that_was_never_written_to_starts_no_thread_and_closes_at_once():
    sink = LineSink(-1, SystemClock())

    sink.close()

    assert sink.dropped == 0


def test_a_signal_that_comes_while_the_thread_begins_costs_no_line(monkeypatch):
    class Interrupted(Thread):
        def start(self):
            raise KeyboardInterrupt

    monkeypatch.setattr("proxy.observe.sink.Thread", Interrupted)
    pipe = Pipe()
    sink = LineSink(pipe.writing, SystemClock())

    with pytest.raises(KeyboardInterrupt):
        sink.write(b"first\n")
    sink.write(b"second\n")
    sink.close()
    os.close(pipe.writing)

    with os.fdopen(pipe.reading, "rb") as stream:
        assert stream.read() == b"first\nsecond\n"


def test_a_line_goes_out_at_once_unless_one_went_lately_and_the_end_waits_for_nobody():
    pipe = Pipe()
    sink = LineSink(pipe.writing, SystemClock(), gather=3600)
    sink.write(b"first\n")
    first = os.read(pipe.reading, 4096)
    sink.write_all([b"second\n", b"third\n"])
    sink.write(b"fourth\n")
    os.set_blocking(pipe.reading, False)
    with pytest.raises(BlockingIOError):
        os.read(pipe.reading, 4096)
    sink.close(patience=60)

    assert first == b"first\n"
    assert pipe.read() == b"second\nthird\nfourth\n"


_PROBE = """
import fcntl, os, sys
turn = os.open(f"/proc/self/fd/{sys.argv[1]}", os.O_RDWR)
try:
    fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("taken")
else:
    print("free")
"""


def test_who_writes_keeps_its_turn_while_a_copy_of_the_lock_goes_to_another_process():
    lock = os.memfd_create("lock")
    pipe = Pipe()
    sink = SharedSink(pipe.writing, SystemClock(), lock)

    def seen_by_another() -> str:
        copy = os.dup(lock)  # what is sent along a socket, and closed here
        os.close(copy)
        asked = subprocess.run(
            [sys.executable, "-c", _PROBE, str(lock)], pass_fds=[lock], capture_output=True, text=True, check=True
        )
        return asked.stdout.strip()

    before = seen_by_another()
    sink.write(b"x" * (1 << 17) + b"\n")  # more than a pipe holds: the writer waits, in the middle of the line
    begun = os.read(pipe.reading, 1)
    during = seen_by_another()
    with os.fdopen(pipe.reading, "rb") as stream:
        rest = stream.readline()
        sink.close()
        os.close(pipe.writing)
    after = seen_by_another()
    os.close(lock)

    assert (before, during, after) == ("free", "taken", "free")
    assert begun + rest == b"x" * (1 << 17) + b"\n"
