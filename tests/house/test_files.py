import re

from tests.house import tree

# Written in two halves, so that this file does not find itself.
MACHINE_PATHS = re.compile("|".join(["/" + "work/", "/" + "root/", "/" + r"home/\w", "/" + "tmp/x", r"C:\\" + "Users"]))
REGISTRIES = re.compile(
    "|".join(["pypi" + r"\.org", "python" + r"hosted\.org", "npm" + r"js\.(org|com)", "deb" + r"\.debian\.org"])
)
PICTURES = {".png", ".ico", ".gz"}


def texts():
    for path in tree.files():
        if path.suffix not in PICTURES:
            yield tree.name(path), path.read_text(encoding="utf-8")


def finds(pattern):
    return [f"{name}: {found.group()}" for name, text in texts() for found in [pattern.search(text)] if found]


def test_no_file_names_a_place_on_somebodys_machine():
    assert finds(MACHINE_PATHS) == []


def test_no_file_names_the_host_of_a_package_registry():
    assert finds(REGISTRIES) == []


def test_every_text_ends_with_a_line_end_and_has_no_windows_line_ends():
    odd = [name for name, text in texts() if text and (not text.endswith("\n") or "\r\n" in text)]

    assert odd == []
