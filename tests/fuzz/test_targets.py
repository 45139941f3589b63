"""Every target on its seeds, on what mutators make of them, and on what hypothesis thinks of."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.mutators import spoilt
from tests.fuzz.targets import NAMES, target

# Those whose examples cost a hundred times as much.
SLOW = {"loader": 60, "pem": 150}


@pytest.mark.parametrize("name", NAMES)
def test_a_target_holds_on_its_seeds(name):
    made = target(name)

    for seed in made.seeds:
        made.check(seed)
    assert made.rule
    assert made.seeds


@pytest.mark.parametrize("name", NAMES)
def test_a_target_holds_on_what_becomes_of_its_seeds(name):
    made = target(name)
    source = random.Random(f"seeds of {name}")

    for _ in range(SLOW.get(name, 1500)):
        made.check(spoilt(source, source.choice(made.seeds)))
    assert made.seeds


@pytest.mark.parametrize("name", NAMES)
def test_a_target_holds_on_any_bytes(name):
    made = target(name)
    beginnings = st.sampled_from(made.seeds)

    @settings(max_examples=SLOW.get(name, 200))
    @given(st.one_of(st.binary(max_size=200), st.tuples(beginnings, st.binary(max_size=20)).map(b"".join)))
    def run(data):
        made.check(data)

    run()
    assert made.seeds
