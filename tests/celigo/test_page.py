"""The page for people who come from integrator.io names every field that is imported."""

from pathlib import Path

from proxy.celigo.assertions import ALGORITHMS
from proxy.celigo.connection import FIELDS as OF_CONNECTION
from proxy.celigo.iclient import FIELDS as OF_ICLIENT

PAGE = (Path(__file__).parents[2] / "docs" / "integrator-io.md").read_text()


def test_every_field_of_an_iclient_and_of_a_connection_is_on_the_page():
    fields = [name for name in (*OF_ICLIENT, *OF_CONNECTION) if not name.startswith("_") and "MediaType" not in name]

    assert len(ALGORITHMS) == 12
    assert [name for name in fields if name not in PAGE and name not in {"formType", "mediaType"}] == []
