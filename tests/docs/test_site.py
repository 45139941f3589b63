"""The site is built offline, without a warning, and its pages load nothing from elsewhere."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pages.site import linked
from tests.docs.page import ROOT

LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


class Assets(HTMLParser):
    """Collects what a page makes a browser load by itself."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        fields = dict(attrs)
        if tag in LOADED and fields.get(LOADED[tag]) and fields.get("rel") not in {"canonical", "next", "prev"}:
            self.found.append(fields[LOADED[tag]])


@pytest.mark.needs("mkdocs")
@pytest.mark.timeout(240)
def test_the_site_is_built_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path):
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"},
        check=False,
        capture_output=True,
        text=True,
    )

    # `--quiet` would hide the warnings from `--strict`, too.
    said = [line for line in (built.stdout + built.stderr).splitlines() if not line.startswith("INFO ")]
    assert (built.returncode, said) == (0, [])
    outside = []
    for page in tmp_path.rglob("*.html"):
        assets = Assets()
        assets.feed(page.read_text(encoding="utf-8"))
        outside += [f"{page.name}: {place}" for place in assets.found if re.match(r"(https?:)?//", place)]
        assert 'class="mermaid"' not in page.read_text(encoding="utf-8")  # the theme would fetch a library for it
    for sheet in tmp_path.rglob("*.css"):
        outside += re.findall(r"url\(['\"]?(?:https?:)?//[^)]*", sheet.read_text(encoding="utf-8"))
    assert outside == []
    assert Path(tmp_path / "index.html").is_file()


def test_links_lead_to_pages_of_the_site_and_files_that_are_none_are_only_named():
    assert (
        linked("[a](docs/values.md#where) [b](SECURITY.md)", "index.md")
        == "[a](values.md#where) [b](security-policy.md)"
    )
    assert (
        linked("[c](../../README.md#one) [d](../values.md)", "guides/x.md") == "[c](../index.md#one) [d](../values.md)"
    )
    assert linked("[`test_e`](../../tests/a.py) [f](https://a.example/)", "reference/x.md") == (
        "`test_e` [f](https://a.example/)"
    )
    assert linked("```\n[g](docs/values.md)\n```\n", "index.md") == "```\n[g](docs/values.md)\n```\n"
