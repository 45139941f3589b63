"""The short form of `make fuzz`: the corpus, what was found before, and some thousand mutants."""

import asyncio

import pytest

from tests.fuzz import campaign, kept, poison, poisoned, sockets, splits
from tests.fuzz.campaign import Mutant, Poison
from tests.fuzz.corpus import GOOD, HOSTILE, HOSTILE_RESPONSES, RESPONSES
from tests.fuzz.found import FOUND
from tests.fuzz.mutators import to_forward

pytestmark = pytest.mark.needs("node")


async def test_every_good_request_is_forwarded_and_read_alike_by_all(world, node):
    reverse = await campaign.run(world, node, [Mutant("reverse", (each,)) for each in GOOD])
    forward = await campaign.run(world, node, [Mutant("forward", (to_forward(each),)) for each in GOOD])

    assert reverse.violations == forward.violations == []
    assert reverse.forwarded == len(GOOD)
    assert forward.forwarded == len(GOOD) - 2  # two name no upstream that the forward listener knows


@pytest.mark.parametrize("number", HOSTILE)
async def test_no_hostile_request_reaches_an_upstream_whole(world, node, number):
    tally = await campaign.run(world, node, [Mutant("reverse", (each,)) for each in HOSTILE[number]])

    assert tally.violations == []
    assert tally.forwarded == 0


async def test_every_good_response_is_relayed_and_read_alike_by_all(world, node):
    asked = [Poison(each, (response,), "fin") for each in poison.ASKED for response in RESPONSES]

    tally = await poison.run(world, node, asked)

    assert tally.violations == []
    assert tally.forwarded > len(asked) * 0.9  # the others: a 101 that nobody asked for


@pytest.mark.parametrize("number", HOSTILE_RESPONSES)
async def test_no_hostile_response_is_relayed_whole_and_the_next_client_gets_its_own(world, node, number):
    asked = [
        Poison(poison.ASKED[0], (response,), end) for response in HOSTILE_RESPONSES[number] for end in ("open", "fin")
    ]

    tally = await poison.run(world, node, asked)

    assert tally.violations == []


@pytest.mark.parametrize("name", FOUND)
async def test_what_was_found_once_is_not_found_again(world, node, name):
    assert await kept.faults_of(world, node, FOUND[name]) == ()


async def test_wherever_a_packet_ends_the_same_requests_are_forwarded(world):
    tally = await splits.run(world, step=23)

    assert tally.violations == []
    assert tally.mutants > 1000


async def test_mutants_of_requests_break_no_rule(world, node):
    tally = await campaign.run(world, node, campaign.at_random(1, 0, 4_000))

    assert tally.violations == []
    assert tally.hostile_forwarded == 0
    assert tally.forwarded > 1000


async def test_mutants_of_responses_break_no_rule(world, node):
    tally = await poison.run(world, node, poison.at_random(1, 0, 1_200))

    assert tally.violations == []
    assert tally.forwarded > 300


async def test_mutants_over_sockets_break_no_rule(tmp_path, node):
    async with sockets.crew(tmp_path, 4) as crew:
        await crew.run(node, 1_000, seed=1)

    assert crew.tally.violations == []
    assert crew.tally.mutants == 1_000
    assert crew.tally.forwarded > 200


async def test_mutants_of_responses_over_sockets_break_no_rule(tmp_path, node):
    async with sockets.crew(tmp_path, 4) as crew:
        tally = await poisoned.run(crew, node, 400, seed=1)

    assert tally.violations == []
    assert tally.mutants == 400
    assert tally.forwarded > 80


def test_the_same_number_makes_the_same_mutant():
    assert list(campaign.at_random(7, 100, 50)) == list(campaign.at_random(7, 100, 50))
    assert list(poison.at_random(7, 100, 50)) == list(poison.at_random(7, 100, 50))
    assert list(campaign.at_random(7, 0, 50)) != list(campaign.at_random(8, 0, 50))


def test_a_violation_can_be_repeated_from_its_file(tmp_path):
    files = [kept.write(tmp_path, campaign.Violation(mutant, ("it broke",))) for mutant in FOUND.values()]

    assert [kept.read(file) for file in files] == list(FOUND.values())


async def test_a_mutant_is_made_as_small_as_it_can_be(world, node):
    """A rule of the test's own: no word may be forwarded."""
    mutant = Mutant("reverse", (b"GET /a/x HTTP/1.1\r\nHost: 127.0.0.1:4000\r\nX-Long: some words\r\n\r\n", b"GET /b"))

    async def breaks(candidate):
        await asyncio.sleep(0)
        return b"words" in b"".join(candidate.pieces)

    found = await kept.fewer_bytes(mutant, breaks)

    assert b"".join(found.pieces) == b"words"
