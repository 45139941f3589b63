import pytest

from bench.profile import read

PRINTED = """
    51.90%  [kernel.kallsyms]
    36.47%  python3.11
     4.60%  parser.cpython-311-x86_64-linux-gnu.so
     3.53%  loop.cpython-311-x86_64-linux-gnu.so
     0.59%  [vdso]
"""


def test_parts_are_read_off_what_perf_prints_and_add_up_to_the_whole():
    assert read(PRINTED) == pytest.approx(
        {"kernel": 0.519, "python3.11": 0.3647, "parser": 0.046, "loop": 0.0353, "the rest": 0.035}
    )


def test_nothing_was_seen_where_perf_may_not_look():
    assert read("") == {}
