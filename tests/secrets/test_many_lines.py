"""The long search through the log, in short: `make nightly NIGHTLY=canaries` has a million lines."""

import random

import pytest

from tests.nightly.canaries import Lines


@pytest.mark.timeout(120)
@pytest.mark.case("S-301", "S-307", "S-319", "S-320")
async def test_thousands_of_lines_of_random_requests_hold_no_secret_and_add_no_series(tmp_path):
    figures = await Lines(tmp_path, random.Random(301)).measure(3_000)

    assert [figure for figure in figures if not figure.holds] == []
    assert len(figures) == 5
