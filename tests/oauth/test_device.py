import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.oauth.device import Device, read_device
from proxy.oauth.failure import Failure, Outcome, Remedy
from proxy.secret import Secret
from tests.oauth import answers
from tests.oauth.answers import LIMIT, NOW, answer

SAID = {
    "device_code": "canary-device",
    "user_code": "WDJB-MJHT",
    "verification_uri": "https://auth.example.com/device",
    "verification_uri_complete": "https://auth.example.com/device?c=WDJB-MJHT",
    "expires_in": 900,
    "interval": 7,
}


def reading(body, status=200, **headers):
    return read_device(answer(body, status, **headers), limit=LIMIT, now=NOW)


def test_a_human_is_told_what_the_server_says():
    found = reading(SAID)

    assert found == Device(
        Secret("canary-device"),
        "WDJB-MJHT",
        "https://auth.example.com/device",
        "https://auth.example.com/device?c=WDJB-MJHT",
        900.0,
        7.0,
    )
    assert "canary" not in repr(found)


def test_what_may_be_left_out_has_the_defaults_of_the_rfc():
    found = reading({name: SAID[name] for name in ("device_code", "user_code", "verification_uri")})

    assert (found.verification_uri_complete, found.expires_in, found.interval) == (None, 1800.0, 5.0)


def test_the_older_name_of_the_address_is_understood():
    found = reading({"device_code": "d", "user_code": "u", "verification_url": "https://a.example/d"})

    assert found.verification_uri == "https://a.example/d"


@pytest.mark.parametrize(
    "changed",
    [
        {"device_code": None},
        {"device_code": ""},
        {"device_code": 5},
        {"user_code": ""},
        {"user_code": "a\nb"},
        {"user_code": "a" * 65},
        {"verification_uri": "javascript:alert(1)"},
        {"verification_uri": "/device"},
        {"verification_uri": "https://"},
        {"verification_uri": "https://[oops"},
        {"verification_uri": "https://a.example/\u202e"},
    ],
)
def test_what_no_page_should_show_is_refused(changed):
    assert reading({**SAID, **changed}).code == "device_answer_malformed"


def test_an_address_with_the_code_that_is_none_is_left_out():
    assert reading({**SAID, "verification_uri_complete": "javascript:x"}).verification_uri_complete is None


@pytest.mark.parametrize("status", [200, 400])
def test_an_error_is_an_error_whatever_its_status(status):
    found = reading({"error": "invalid_client"}, status)

    assert (found.outcome, found.code, found.status) == (Outcome.INVALID_CLIENT, "invalid_client", status)


@pytest.mark.parametrize(
    ("error", "outcome", "remedy"),
    [
        ("authorization_pending", Outcome.OTHER_ERROR, Remedy.WAIT),
        ("slow_down", Outcome.OTHER_ERROR, Remedy.WAIT),
        ("expired_token", Outcome.INVALID_GRANT, Remedy.ANOTHER_GRANT),
        ("access_denied", Outcome.INVALID_GRANT, Remedy.ANOTHER_GRANT),
    ],
)
def test_the_answers_to_polling_are_told_apart(error, outcome, remedy):
    found = answers.reading({"error": error}, 400)

    assert (found.code, found.outcome, found.remedy) == (error, outcome, remedy)


@given(st.binary(max_size=200), st.sampled_from([200, 400, 500]))
def test_no_answer_makes_it_raise(body, status):
    assert isinstance(reading(body, status), Failure)
