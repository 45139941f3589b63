"""The gallery of `examples/auth-errors`: responses of the shape that real APIs send, judged as the page promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.definitions.load import load
from proxy.definitions.models import Connection
from proxy.exchange.classify import Classifier
from proxy.exchange.inspection import Bounds
from proxy.exchange.recorded import Recorded, parse_recorded
from proxy.exchange.verdict import explain
from tests.support.scripts import OK_BODY, replies
from tests.support.stage import Case

GALLERY = Path(__file__).parents[2] / "examples" / "auth-errors"
NAMES = sorted(path.name for path in GALLERY.iterdir() if path.is_dir())
WRITTEN = {
    name: yaml.safe_load((GALLERY / name / "definition.yaml").read_text())["connections"][name] for name in NAMES
}
VERDICTS = {name: yaml.safe_load((GALLERY / name / "verdicts.yaml").read_text()) for name in NAMES}
ALL = [(name, file, rule) for name in NAMES for file, rule in VERDICTS[name].items()]
BOUNDS = Bounds(64 * 1024, 256 * 1024, 2.0)


def defined(name: str) -> Connection:
    [connection] = load([GALLERY / name / "definition.yaml"], {"CLIENT_SECRET": "canary"}).definitions.connections
    return connection


def recorded(name: str, file: str) -> Recorded:
    return parse_recorded((GALLERY / name / file).read_bytes())


def sent(response: Recorded) -> bytes:
    """Return the response as an upstream sends it."""
    length = b"" if response.head.fields.content_length >= 0 else b"Content-Length: %d\r\n" % len(response.body)
    return response.head.raw[:-2] + length + b"\r\n" + response.body


@pytest.mark.parametrize("name", NAMES)
def test_every_recorded_response_has_its_verdict(name: str):
    assert set(VERDICTS[name]) == {path.name for path in (GALLERY / name).glob("*.http")}
    assert None in VERDICTS[name].values()
    assert set(VERDICTS[name].values()) != {None}


@pytest.mark.parametrize(("name", "file", "rule"), ALL)
def test_a_recorded_response_is_explained_by_the_rule_that_the_gallery_names(name: str, file: str, rule: str | None):
    connection = defined(name)

    found = explain(Classifier(connection.auth_errors), connection.replay, BOUNDS, recorded(name, file))

    assert found.rule == rule
    assert [reason.name for reason in found.reasons if reason.matches] == ([rule] if rule else [])


def _marks(name: str) -> Any:
    written = {key: value for key, value in WRITTEN[name].items() if key not in ("base_url", "iclient")}
    return pytest.mark.connection(**written)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("name", "file", "rule"),
    [pytest.param(*each, marks=_marks(each[0]), id=f"{each[0]}-{each[1]}") for each in ALL],
)
async def test_the_data_path_does_what_the_explanation_says(case: Case, name: str, file: str, rule: str | None):
    raw = sent(recorded(name, file))
    case.upstream.answers(replies(raw))
    client = await case.connect()
    if rule is not None:
        answered = await client.ask(case.request())
        assert (answered.status, answered.body) == (200, OK_BODY)
        assert (case.upstream_requests, case.token_requests) == (2, 2)
        series = f'auth_errors_total{{connection="{case.name}",rule="{rule}"}}'
        assert await case.stage.process.metric(series) == 1
    else:
        await client.send(case.request())
        assert await client.read_exactly(len(raw)) == raw
        assert (case.upstream_requests, case.token_requests) == (1, 1)
