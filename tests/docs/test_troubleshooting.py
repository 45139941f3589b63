import re

from proxy.problem import PROBLEMS
from tests.docs.page import DOCS

PAGE = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")


def test_every_own_answer_has_its_row():
    rows = "\n".join(line.split(" | ")[0] for line in PAGE.splitlines() if line.startswith("| `"))

    assert [code for code in PROBLEMS if f"`{code}`" not in rows] == []


def test_a_row_says_the_status_that_the_table_has():
    said = re.findall(r"`(\w+)` \((\d{3})\)", PAGE)

    assert said
    assert [(code, status) for code, status in said if PROBLEMS[code].status != int(status)] == []


def test_no_row_is_about_an_answer_that_is_not_there():
    groups = PAGE.partition("## There is no token (503)")[2].partition("## The same thing again")[0]
    codes = re.findall(r"`(\w+)`", "\n".join(line.split(" | ")[0] for line in groups.splitlines() if "| `" in line))

    assert set(codes) == set(PROBLEMS)
