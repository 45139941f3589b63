"""Every bad definition as a reload of a running process: the same faults as at a start, and nothing changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.catalogue.bad_definitions import all_of_them, throw
from tests.catalogue.catalogue import catalogue
from tests.support import seen, traffic

if TYPE_CHECKING:
    from pathlib import Path

# Of these no single file is bad: a start or a reload goes well, or the fault lies in time or in a rendered value.
NOT_A_FILE = {"C-22", "C-23", "C-24", "C-25", "C-32", "C-41", "C-45"}


@pytest.mark.case(
    "C-1", "C-2", "C-3", "C-4", "C-5", "C-6", "C-7", "C-8", "C-9", "C-10", "C-11", "C-12", "C-13", "C-14", "C-15",
    "C-16", "C-17", "C-18", "C-19", "C-20", "C-21", "C-24", "C-26", "C-27", "C-28", "C-29", "C-30", "C-31", "C-33",
    "C-34", "C-35", "C-36", "C-37", "C-38", "C-39", "C-40", "C-42", "C-43", "C-44", "C-46", "C-47", "C-48", "C-49",
    "C-50",
)  # fmt: skip
async def test_each_bad_definition_is_refused_with_its_codes_and_no_request_is_lost(tmp_path: Path):
    with seen.unseen():
        thrown = await throw(tmp_path, traffic.seed())

    assert thrown.wrong == ()
    assert thrown.files >= 90


def test_every_case_of_definitions_is_thrown_but_those_that_are_no_file():
    thrown = {number for bad in all_of_them() for number in bad.cases}

    assert {number for number in catalogue().live if number.startswith("C-")} - thrown == NOT_A_FILE
