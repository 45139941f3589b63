"""The trial itself: a mistake is noticed by the tests that come to it, and by no others."""

import json
import subprocess
import sys

from tests.house import tree

PLANTED = """
import json, sys
from tests.mutants.groups import Group
from tests.mutants.trial import modules_of, try_group
group = Group("planted", ("proxy/wire/names.py", "proxy/tokens/waiters.py"), ("tests/wire/test_names.py",))
modules = modules_of(group)
wanted = ("::options:", "::cut_named:", "_field_lines: 'XX|", "without element 'trailer'", "Waiters.join:")
chosen = [one for module in modules for one in module.mutants if any(word in one.name for word in wanted)]
found = try_group(group, chosen, modules, 10.0, lambda line: None)
print(json.dumps([sorted(found.killed | found.timed_out), sorted(found.survived), found.tests, found.broken]))
"""


def test_mistakes_in_functions_and_in_constants_are_noticed_by_tests_that_come_to_them_and_by_no_others():
    done = subprocess.run([sys.executable, "-c", PLANTED], cwd=tree.ROOT, capture_output=True, text=True, check=True)

    noticed, survived, tests, broken = json.loads(done.stdout.splitlines()[-1])
    assert (broken, tests > 50) == ([], True)
    assert {name.partition("::")[0] for name in noticed} == {"proxy/wire/names.py"}
    assert {name.partition("::")[0] for name in survived} == {"proxy/tokens/waiters.py"}
    assert {name.partition("::")[2].partition(":")[0] for name in noticed} >= {"options", "cut_named"}
