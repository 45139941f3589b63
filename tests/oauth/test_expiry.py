import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.oauth.expiry import LONGEST, http_date, lifetime, retry_after

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z


@pytest.mark.case("T-87")
@pytest.mark.parametrize(("value", "seconds"), [("3600", 3600), (3599.7, 3599), ("3600 ", 3600), (1, 1), ("12.9", 12)])
def test_a_lifetime_may_be_a_number_or_its_text(value, seconds):
    assert lifetime(value, "s", NOW) == seconds


@pytest.mark.case("T-86")
@pytest.mark.parametrize(
    "value", [0, -1, None, "", "never", "NaN", True, False, float("inf"), float("nan"), 0.4, [], {}, "1e3", "٣", "inf"]
)
def test_what_is_no_lifetime_says_nothing(value):
    assert lifetime(value, "s", NOW) is None


@pytest.mark.case("T-88")
@pytest.mark.parametrize("value", [10**12, 10**400, "9" * 30, 1e300])
def test_an_absurd_lifetime_is_thirty_days(value):
    assert lifetime(value, "s", NOW) == LONGEST == 30 * 86400


def test_milliseconds_are_a_thousandth():
    assert lifetime(3_600_000, "ms", NOW) == 3600
    assert lifetime("1500", "ms", NOW) == 1.5


@pytest.mark.parametrize(
    "value",
    [
        NOW + 3600,
        str(int(NOW) + 3600),
        (NOW + 3600) * 1000,
        "2027-01-15T09:00:00Z",
        "2027-01-15T10:00:00+01:00",
        "2027-01-15T09:00:00",
    ],
)
def test_a_moment_may_be_unix_time_or_iso_8601(value):
    assert lifetime(value, "at", NOW) == 3600


@pytest.mark.case("R-394")
def test_a_moment_in_the_past_says_that_the_token_has_expired():
    assert lifetime(NOW - 5, "at", NOW) == -5


@pytest.mark.parametrize("value", ["tomorrow", "", None, True, [], "2027-13-45"])
def test_what_is_no_moment_says_nothing(value):
    assert lifetime(value, "at", NOW) is None


@pytest.mark.case("T-65")
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("30", 30),
        (" 30 ", 30),
        ("1000000000", 300),
        ("Fri, 15 Jan 2027 08:01:00 GMT", 60),
        ("Friday, 15-Jan-27 08:01:00 GMT", 60),
        ("Fri, 15 Jan 2027 09:00:00 GMT", 300),
        ("Fri, 15 Jan 2027 07:00:00 GMT", None),
        ("0", None),
        ("-5", None),
        ("banana", None),
        ("", None),
        ("1.5", None),
        ("Fri, 99 Jan 2027 07:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_five_minutes_at_most(value, seconds):
    assert retry_after(value, NOW) == seconds


@given(st.one_of(st.text(), st.integers(), st.floats(), st.booleans()), st.sampled_from(["s", "ms", "at"]))
def test_a_lifetime_is_never_an_exception_and_never_beyond_thirty_days(value, unit):
    found = lifetime(value, unit, NOW)

    assert found is None or found <= LONGEST
    assert unit == "at" or found is None or found > 0


@given(st.text())
def test_any_text_can_stand_where_a_date_is_expected(text):
    assert http_date(text) is None or isinstance(http_date(text), float)
    assert retry_after(text, NOW) is None or 0 < retry_after(text, NOW) <= 300
