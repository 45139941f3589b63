"""The search that looks for canaries finds them in every dress, so that its silence says something."""

import random

import pytest

from tests.support.canaries import GRAM, LENGTH, Scanner, assert_free, canary, spelled

ENTROPY = random.Random(1)
WORDS = [canary(f"word {number}", ENTROPY, odd=number % 2 == 1) for number in range(40)]
SCANNER = Scanner(WORDS)
DRESSES = spelled(WORDS[0].text)
LINE = b'{"event":"exchange","path":"/a%%2Fb/%s","request_id":"0123456789abcdef","note":"\\u00e9"}\n'


@pytest.mark.parametrize("dress", DRESSES)
def test_every_word_is_found_in_every_dress(dress):
    for word in WORDS:
        hits = SCANNER.scan(LINE % spelled(word.text)[dress])

        assert {hit.name for hit in hits} == {word.name}, (dress, word.text)


@pytest.mark.parametrize("at", range(LENGTH - GRAM + 1))
def test_any_twelve_plain_characters_of_a_word_are_a_hit(at):
    assert SCANNER.scan(LINE % WORDS[0].text[at : at + GRAM].encode())


def test_a_word_is_found_wherever_it_stands_in_much_data():
    quiet = LINE % b"nothing" * 50_000
    word = spelled(WORDS[3].text)["percent-encoded here and there"]

    assert SCANNER.scan(quiet) == []
    for at in (0, len(quiet) // 2, len(quiet)):
        assert SCANNER.scan(quiet[:at] + word + quiet[at:])


def test_eleven_characters_are_no_hit_so_that_nothing_is_found_by_chance():
    assert SCANNER.scan(LINE % WORDS[0].text[: GRAM - 1].encode()) == []


def test_a_surface_that_leaks_fails_and_says_where():
    control = canary("control", ENTROPY)
    assert_free(SCANNER, "a quiet log", LINE % b"nothing", control)

    with pytest.raises(AssertionError, match=r"a log shows word 2 \(hexadecimal\)"):
        assert_free(SCANNER, "a log", LINE % WORDS[2].text.encode().hex().encode(), control)


def test_a_search_that_can_not_see_fails_instead_of_passing():
    control = canary("control", ENTROPY)

    with pytest.raises(AssertionError, match="the control word stands in"):
        assert_free(SCANNER, "a log", control.text.encode(), control)
