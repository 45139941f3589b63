"""The page of bad inputs and faults, from the catalogue and the record of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pages.text import begun, code, table
from tests.catalogue.catalogue import catalogue
from tests.catalogue.record import read

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.catalogue.catalogue import Catalogue

_ABOUT: Final = """\
Every bad input and fault that is known to matter, what comes of it, and the tests that show it. The column *seen* is a
record of a run of these tests, as their clients and servers counted: what the client was answered (an own answer with
its [code](problems.md)), `U`, the complete request heads that the upstream saw, and `T`, the token requests that the
authorization server saw, each from the test with the fewest to the one with the most; of definitions the codes of
their faults; of processes the exit status. Where nothing is seen the test is about a decision that needs no server.

After each case that has a process: no secret of the test is in its output, its own answers or its metrics; no exchange,
tunnel or file is left; a good request gets its own response with U 1; its log has no traceback and nothing that nobody
awaited; and it answers meanwhile. Beside each of them good requests of another connection come in random moments, and
each gets its own response. Tests that have to be alone, and why, are in
[the catalogue](../../tests/catalogue/cases.toml).

`make test` holds a run to the catalogue: with `CI_REQUIRE_ALL=1` a case that no test shows is an error. `make record`
takes the column *seen* from a run of the marked tests, and `make nightly NIGHTLY=cases` runs the cases in 25 seeded
interleavings with the good requests."""


def page() -> str:
    """Return the page."""
    known = catalogue()
    record = read()
    lines = begun("Bad inputs and faults", _ABOUT)
    live = len(known.live)
    lines += [f"{live} cases; {len(known.struck)} numbers are struck.", ""]
    for group in known.groups:
        rows = [_row(known, number, said, record.get(number, {})) for number, said in group.cases.items()]
        lines += [f"## {group.title}", "", group.about, ""]
        lines += table(("case", "what happens: what comes of it", "seen", "shown by"), rows)
    return "\n".join(lines).rstrip() + "\n"


def _row(known: Catalogue, number: str, said: str, tests: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    if number in known.struck:
        return number, f"~~{said}~~ {known.struck[number]}", "struck", ""
    mended = f"<br>*{known.mended[number]}*" if number in known.mended else ""
    return number, said + mended, _seen(tests.values()), "<br>".join(_link(test) for test in sorted(tests))


def _seen(rows: Iterable[Mapping[str, Any]]) -> str:
    rows = list(rows)
    parts = [code(word) for name in ("answers", "faults") for word in _all(rows, name)]
    parts += [f"exit {status}" for status in _all(rows, "exits")]
    parts += [
        f"{name} {_range(counts)}" for name in ("U", "T") if (counts := [row[name] for row in rows if name in row])
    ]
    return ", ".join(parts)


def _all(rows: Iterable[Mapping[str, Any]], name: str) -> list[Any]:
    return sorted({word for row in rows for word in row.get(name, ())})


def _range(counts: list[list[int]]) -> str:
    least, most = min(low for low, _ in counts), max(high for _, high in counts)
    return str(least) if least == most else f"{least} to {most}"


def _link(test: str) -> str:
    place, _, name = test.partition("::")
    return f"[{code(name.rpartition('::')[2])}](../../{place})"
