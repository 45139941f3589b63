"""A run of many minutes loses no figure: each part is kept at once, and who is told to end says what it has."""

import argparse
import asyncio
import os
import signal
import subprocess
import sys

import pytest

from tests.nightly import cases
from tests.support.figures import Figure
from tests.support.parts import Part, asked_for, run, told_to_end

BESIDE = {"good requests": 10, "lost": 0, "leaks": 0}
ROUND = {"cases": ["F-1"], "beside": BESIDE, "rest": 0.0, "lag": 0.0, "lags": {}, "failed": []}


def part(*figures: Figure, programs: tuple[str, ...] = ()) -> Part:
    return Part(lambda _: figures, programs)


def played(parts: dict[str, Part], *words: str) -> int:
    return run(parts, asked_for(argparse.ArgumentParser(), parts, words))


def told(*numbers: signal.Signals) -> None:
    for number in numbers:
        signal.raise_signal(number)


def test_what_a_part_came_to_is_in_the_file_before_the_next_one_begins(tmp_path):
    file = tmp_path / "figures.md"
    kept = []

    def look(_: argparse.Namespace) -> list[Figure]:
        kept.append(file.read_text())
        return [Figure("two", "2")]

    file.write_text("of yesterday\n")
    status = played({"one": part(Figure("one", "1")), "two": Part(look)}, "--out", str(file), "--seed", "7")

    assert status == 0
    assert kept[0].startswith("of yesterday\n## one: 0 s (seed 7, ")
    assert "| one | 1 |" in kept[0]
    assert "| two | 2 |" in file.read_text()


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        pytest.param({"a": part(Figure("a", "1"))}, 0, id="all bars are met"),
        pytest.param({"a": part(Figure("a", "1", "0", holds=False))}, 1, id="one is not"),
        pytest.param({"a": part(programs=("no-such-program",))}, 1, id="a program is missing"),
    ],
)
def test_the_exit_status_says_whether_everything_ran_and_held(parts, status):
    assert played(parts) == status


def test_an_alias_stands_for_its_parts_and_nothing_for_all():
    parts = {"a": part(), "b": part(), "c": part()}
    aliases = {"both": ("a", "b")}

    assert asked_for(argparse.ArgumentParser(), parts, ["both"], aliases).parts == ["a", "b"]
    assert asked_for(argparse.ArgumentParser(), parts, [], aliases).parts == ["a", "b", "c"]


def test_a_part_that_there_is_not_is_told_with_those_that_there_are(capsys):
    with pytest.raises(SystemExit):
        asked_for(argparse.ArgumentParser(), {"a": part()}, ["z"], {"both": ("a",)})

    assert "unknown: z (known: both, a)" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_ended_prints_what_it_has_and_begins_no_other_part(number, capsys):
    cleaned = []

    async def forever() -> None:
        asyncio.get_running_loop().call_soon(told, number)
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    parts = {"one": part(Figure("one", "1")), "two": Part(lambda _: asyncio.run(forever())), "three": part()}
    status = played(parts)
    printed = capsys.readouterr()

    assert status == 130
    assert cleaned
    assert "| one | 1 |" in printed.out
    assert "two: 0 s, ended early" in printed.err
    assert "three" not in printed.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_cases_that_are_ended_finish_their_round_and_give_the_figures_of_those_that_were_played(number, capsys):
    seeds = []

    async def play(seed: int) -> dict:
        seeds.append(seed)
        if len(seeds) == 2:
            told(number)
        return ROUND

    parts = {"cases": Part(lambda _: asyncio.run(cases.of_rounds(25, 7, play))), "later": part()}
    status = played(parts)

    assert status == 130
    assert seeds == [7, 8]
    assert "| good requests beside them | 20 |" in capsys.readouterr().out


def test_who_is_told_twice_to_end_does_so_at_once():
    async def play() -> None:
        with told_to_end():
            told(signal.SIGTERM, signal.SIGTERM)
            await asyncio.Event().wait()

    assert played({"a": Part(lambda _: asyncio.run(play())), "b": part()}) == 130


def test_rounds_that_nobody_ends_are_all_played():
    async def play(_: int) -> dict:
        return ROUND

    found = asyncio.run(cases.of_rounds(3, 1, play))

    assert found[0].what.startswith("1 cases, each in 3 interleavings")


@pytest.mark.needs("nice")
def test_parts_run_at_usual_priority_on_demand_however_nice_the_call_was():
    words = (
        "import argparse, os, sys; from tests.support.parts import *; "
        "parts = {'a': Part(lambda _: sys.stderr.write(f'{os.nice(0)} {os.sched_getscheduler(0)}') and [])}; "
        "sys.exit(run(parts, asked_for(argparse.ArgumentParser(), parts, ['--usual-priority'])))"
    )
    done = subprocess.run(["nice", "-n", "5", sys.executable, "-c", words], check=False, capture_output=True, text=True)

    if done.returncode == 0:
        assert f"0 {os.SCHED_OTHER}" in done.stderr
    else:  # who is not root may not be given back what was given away
        assert "--usual-priority: Permission denied; it needs CAP_SYS_NICE" in done.stderr
