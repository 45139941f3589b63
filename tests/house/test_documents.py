import json
import re

import pytest

from proxy.cli.verbs import VERBS
from proxy.definitions.grants import GRANTS
from proxy.definitions.load import load
from proxy.tokens.states import State, diagram
from tests.house import tree

PAGES = [path for path in tree.files(".md") if "bench" not in path.parts]
README = (tree.ROOT / "README.md").read_text(encoding="utf-8")


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def anchors(path):
    """Return the anchors of a page's headings, as forges make them."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=tree.name)
def test_every_link_between_pages_leads_somewhere(page):
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = target.partition("#")
        aimed = (page.parent / place).resolve() if place else page
        if not aimed.exists() or (anchor and anchor not in anchors(aimed)):
            broken.append(target)

    assert broken == []


def test_the_readme_says_first_what_it_is_and_what_it_is_not():
    beginning = README.partition("## ")[0]

    assert "OAuth 2.0" in beginning
    assert "forward auth" in beginning
    assert "**not**" in beginning


def test_the_first_definition_of_the_readme_has_eight_lines_and_can_be_loaded(tmp_path):
    definition = blocks(README, "yaml")[0]
    (tmp_path / "iclient-proxy.yaml").write_text(definition)

    loaded = load([tmp_path / "iclient-proxy.yaml"], {"ACME_SECRET": "canary-secret"})

    assert len(definition.splitlines()) == 8
    assert [connection.name for connection in loaded.definitions.connections] == ["acme"]
    assert loaded.warnings == ()


@pytest.mark.parametrize("page", PAGES, ids=tree.name)
def test_every_json_of_a_page_is_json(page):
    for block in blocks(page.read_text(encoding="utf-8"), "json"):
        assert json.loads(block)


def test_every_target_of_make_that_a_page_names_exists():
    targets = set(re.findall(r"^([a-z]+):", (tree.ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    named = {target for page in PAGES for target in re.findall(r"`make ([a-z]+)", page.read_text(encoding="utf-8"))}

    assert {"demo", "test", "check", "setup", "bench"} <= targets
    assert named <= targets


def test_the_drawing_of_a_tokens_life_is_the_machine_itself():
    page = (tree.ROOT / "docs" / "life-of-a-token.md").read_text(encoding="utf-8")

    assert blocks(page, "mermaid") == [diagram()]


def test_every_state_of_a_token_has_its_row():
    page = (tree.ROOT / "docs" / "life-of-a-token.md").read_text(encoding="utf-8")

    assert set(re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE)) == set(State)


def test_every_floor_and_leaf_has_its_place_in_the_architecture():
    page = (tree.ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    floors = {f"{path.parent.name}/" for path in tree.modules() if path.parent.parent.name == "proxy"}
    leaves = {path.stem for path in tree.modules() if path.parent.name == "proxy" and not path.stem.startswith("__")}

    assert [place for place in sorted(floors | leaves) if place not in page] == []


def test_every_file_that_the_architecture_names_exists():
    page = (tree.ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`(\w+/\w+\.py)`", page)

    assert named
    assert [name for name in named if not (tree.ROOT / "proxy" / name).is_file()] == []


def test_every_grant_has_its_place_in_the_readme():
    works = README.partition("## What works today")[2].partition("## What does not work yet")[0]

    assert [grant for grant in GRANTS if f"`{grant}`" not in works] == []


def test_every_command_has_its_place_in_the_readme():
    shown = re.search(r"\*\*Command line\*\*: (.*?)\.", README, flags=re.DOTALL)

    assert shown
    assert set(re.findall(r"`(\w+)`", shown[1])) == set(VERBS)
