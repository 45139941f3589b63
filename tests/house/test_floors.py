import os
import subprocess
import sys
from pathlib import Path

from tests.house import tree

# Imports each module in a child that has seen nothing else, without paying for a new interpreter each time.
ALONE = """
import os, sys, traceback, warnings
for module in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        warnings.simplefilter("error")
        try:
            __import__(module)
        except BaseException:
            print(module, traceback.format_exc(), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    print(module, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_a_floor_imports_only_floors_below_it():
    command = Path(sys.executable).with_name("lint-imports")

    checked = subprocess.run([command, "--no-cache"], cwd=tree.ROOT, capture_output=True, text=True, check=False)

    assert checked.returncode == 0, checked.stdout
    assert "0 broken" in checked.stdout


def test_every_floor_of_the_package_stands_in_the_staircase():
    contract = (tree.ROOT / "pyproject.toml").read_text(encoding="utf-8")
    rooms = {path.parent.name for path in tree.modules() if path.parent.parent.name == "proxy"}
    leaves = {path.stem for path in tree.modules() if path.parent.name == "proxy"} - {"__init__", "__main__"}

    assert {"definitions", "wire", "errors"} <= rooms | leaves
    assert [floor for floor in sorted(rooms | leaves) if floor not in contract] == []


def test_each_module_can_be_imported_alone():
    names = [tree.dotted(path) for path in tree.modules() if path.name != "__main__.py"]

    imported = subprocess.run(
        [sys.executable, "-c", ALONE, *names],
        cwd=tree.ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
        capture_output=True,
        text=True,
        check=True,
    )

    assert imported.stdout.split("\n")[:-1] == [f"{name} 0" for name in names], imported.stderr
