import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.observe.render import clamp, console_line, exception_fields, json_line, printable, timestamp

HOSTILE = "\r\n\x1b[2J\x9b31m\u2028\u202e\u200f\ufeff\x00\x7f\udc80\U000e0041"


@pytest.mark.case("S-319")
@given(text=st.text() | st.text(st.sampled_from(HOSTILE + 'ab"\\')))
def test_whatever_a_peer_wrote_is_one_line_of_printable_ascii_json(text):
    line = json_line({"event": "library", "message": clamp(text)})

    assert line.endswith(b"\n")
    assert line[:-1].decode("ascii").isprintable()
    assert json.loads(line)["message"] == clamp(text)


@pytest.mark.case("S-319")
@given(text=st.text() | st.text(st.sampled_from(HOSTILE + 'ab"\\')), colours=st.booleans())
def test_whatever_a_peer_wrote_can_not_move_the_cursor_of_a_terminal(text, colours):
    line = console_line({"event": "library", "message": clamp(text), "level": "info"}, colours=colours)

    shown = line[:-1].decode()
    for code in ("0", "1", "2", "31", "32", "33", "36"):
        shown = shown.replace(f"\x1b[{code}m", "") if colours else shown
    assert printable(shown) == shown


@pytest.mark.case("S-319")
@given(text=st.text(max_size=3000) | st.text(st.sampled_from('\x00é\U0001f600"a'), max_size=3000))
def test_a_field_takes_at_most_a_kibibyte_and_a_cut_one_says_so(text):
    cut = clamp(text)

    assert len(json.dumps(cut)) - 2 <= 1024
    assert cut == text or (cut.endswith("[truncated]") and text.startswith(cut.removesuffix("[truncated]")))
    assert (cut == text) is (len(json.dumps(text).replace("\x7f", "\\u007f")) - 2 <= 1024)


def test_a_line_for_a_terminal_begins_with_time_level_and_what_happened():
    event = {
        "event": "renewed",
        "connection": "crm",
        "detail": "a b",
        "left": None,
        "level": "info",
        "timestamp": "2026-01-02T03:04:05.678Z",
    }

    assert console_line(event, colours=False) == (
        b'03:04:05.678 info    renewed            connection=crm detail="a b" left=null\n'
    )
    assert console_line(event, colours=True).count(b"\x1b[") == 12


def test_times_are_utc_with_milliseconds():
    assert timestamp(1767323045.6789) == "2026-01-02T03:04:05.678Z"
    assert timestamp(0) == "1970-01-01T00:00:00.000Z"


def fail(client_secret):  # a local variable is the point
    raise ValueError("no good") from KeyError("inner")


def test_an_exception_is_its_chain_and_its_frames():
    try:
        fail("canary-secret-value")
    except ValueError as error:
        fields = exception_fields(error)

    assert fields["error"] == "ValueError: no good <- KeyError: 'inner'"
    assert str(fields["at"]).endswith(" fail")
    assert "canary" not in str(fields)
    assert "/" not in str(fields["at"])


def test_an_exception_that_is_its_own_context_is_told_once():
    error = RuntimeError("round and round")
    error.__context__ = error

    assert exception_fields(error) == {"error": "RuntimeError: round and round"}
