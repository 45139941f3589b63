"""How the sources are chosen where something may be compiled beside them."""

import os
import subprocess
import sys

SCRIPT = """
import sys, proxy
hook, root = sys.path_hooks[0], proxy.__path__[0]
for path in (root, root + "/wire", root + "_tools", root + "_tools/wire"):
    try:
        hook(path)
        print("sources")
    except ImportError:
        print("as usual")
"""


def test_the_sources_of_this_package_alone_go_before_what_is_compiled():
    said = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "ICLIENT_PROXY_PURE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert said.stdout.splitlines() == ["sources", "sources", "as usual", "as usual"]
