import copy
import gc
import pickle
import traceback

import pytest

from proxy.secret import MASK, Secret, Unprinted, living

TEXT = "canary-secret-5a1f"


@pytest.mark.parametrize(
    "into_text",
    [str, repr, format, "{}".format, "{:>40}".format, "{!r}".format, "%s".__mod__, "%r".__mod__, lambda it: str([it])],
)
def test_no_way_of_making_text_gives_the_secret(into_text):
    made = into_text(Secret(TEXT))

    assert TEXT not in made
    assert MASK in made


def test_the_secret_is_not_in_a_traceback_that_holds_it():
    secret = Secret(TEXT)

    def fails(it):
        raise ValueError(it)

    with pytest.raises(ValueError, match=r"\*\*\*") as caught:
        fails(secret)

    assert TEXT not in "".join(traceback.format_exception(caught.value))


def test_it_is_revealed_as_it_was_given():
    assert Secret(TEXT).reveal() == TEXT


def test_equal_texts_are_equal_secrets_with_one_hash_and_others_are_not():
    assert Secret(TEXT) == Secret(TEXT)
    assert hash(Secret(TEXT)) == hash(Secret(TEXT))
    assert Secret(TEXT) != Secret(TEXT + "x")
    assert Secret("ключ") != Secret("ключи")


def test_a_secret_is_neither_equal_to_its_text_nor_found_by_it():
    assert Secret(TEXT) != TEXT
    assert TEXT not in {Secret(TEXT): 1}
    assert hash(Secret(TEXT)) != hash(TEXT)


def test_what_wants_to_be_asked_itself_whether_it_equals_a_secret_is_asked():
    class Anything:
        def __eq__(self, other):
            return True

        __hash__ = None

    assert Secret(TEXT) == Anything()


def test_a_secret_does_not_change():
    secret = Secret(TEXT)

    with pytest.raises(AttributeError):
        secret._text = "other"  # noqa: SLF001
    with pytest.raises(AttributeError):
        secret.more = "other"
    assert secret.reveal() == TEXT


def test_a_secret_can_not_be_pickled():
    with pytest.raises(TypeError, match="not serialised"):
        pickle.dumps(Secret(TEXT))


def test_a_copy_is_the_same_secret():
    secret = Secret(TEXT)

    assert copy.copy(secret) is secret
    assert copy.deepcopy({"key": [secret]})["key"][0] is secret


def test_a_fingerprint_tells_secrets_apart_in_eight_digits_and_is_the_same_in_every_process():
    assert Secret(TEXT).fingerprint() == "bb316b81"  # of its SHA-256
    assert Secret(TEXT).fingerprint() != Secret(TEXT + "x").fingerprint()


def test_every_secret_that_is_held_is_found_and_no_other():
    text = f"{TEXT}-held-twice"
    first, twin = Secret(text), Secret(text)
    assert [secret for secret in living() if secret.reveal() == text] == [first, twin]

    del first
    gc.collect()
    assert [secret is twin for secret in living() if secret.reveal() == text] == [True]


def test_secrets_may_be_made_and_may_go_while_the_living_are_looked_through():
    held = [Secret(f"{TEXT}-{number}") for number in range(10)]
    seen = []

    for secret in living():
        seen.append(secret.reveal())
        held.append(Secret(f"{TEXT}-later-{len(held)}"))
        held.pop(0)

    assert seen


def test_what_a_server_said_beside_its_tokens_is_counted_and_not_printed():
    said = Unprinted({"id_token": TEXT, "expires_in": 60})

    assert f"{said}" == repr(said) == "Unprinted(2 members)"
    assert said["id_token"] == TEXT
