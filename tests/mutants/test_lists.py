"""The lists of mutants that are left out, and of known survivors: nothing in them is stale, and each has its reason."""

import re

import pytest

from tests.house import tree
from tests.mutants.__main__ import BAR, EXCLUDED_MAX
from tests.mutants.groups import GROUPS
from tests.mutants.lists import EQUIVALENT, SURVIVORS, reasons
from tests.mutants.trial import modules_of, sample

NAMES = {group.name: {mutant.name for module in modules_of(group) for mutant in module.mutants} for group in GROUPS}


@pytest.mark.parametrize("path", [EQUIVALENT, SURVIVORS], ids=lambda path: path.stem)
def test_every_entry_is_a_mutant_that_there_is_and_has_its_reason(path):
    listed = reasons(path)

    assert listed
    assert sorted(set(listed) - set().union(*NAMES.values())) == [], "the code has changed: look at them anew"
    assert [name for name, reason in listed.items() if len(reason) < 12] == []


def test_no_mutant_is_in_both_lists_or_twice_in_one():
    assert set(reasons(EQUIVALENT)) & set(reasons(SURVIVORS)) == set()
    for path in (EQUIVALENT, SURVIVORS):
        entries = re.findall(r"^\[\[mutant\]\]$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert len(entries) == len(reasons(path))


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_not_more_than_one_in_twenty_is_left_out(group):
    left_out = NAMES[group.name] & set(reasons(EQUIVALENT))

    assert len(left_out) <= EXCLUDED_MAX / 100 * len(NAMES[group.name])


def test_modules_and_tests_of_every_group_are_there_and_no_module_is_in_two():
    modules = [path for group in GROUPS for path in group.modules]

    assert len(set(modules)) == len(modules)
    assert [path for path in modules if not (tree.ROOT / path).is_file()] == []
    assert [path for group in GROUPS for path in group.tests if not (tree.ROOT / path).exists()] == []


def test_a_sample_is_the_same_for_the_same_seed_and_never_larger_than_asked_for():
    mutants = [mutant for module in modules_of(GROUPS[0]) for mutant in module.mutants]

    assert sample(mutants, 50, 1) == sample(mutants, 50, 1)
    assert sample(mutants, 50, 1) != sample(mutants, 50, 2)
    assert (len(sample(mutants, 50, 1)), sample(mutants, 10**6, 1)) == (50, mutants)


def test_the_page_states_the_bars_and_every_group():
    page = (tree.ROOT / "docs" / "mutants.md").read_text(encoding="utf-8")

    assert f"{BAR:.0f} %" in page
    assert f"{EXCLUDED_MAX:.0f} %" in page
    assert [group.name for group in GROUPS if f"| {group.name} |" not in page] == []
