"""The example charts, built once: copied with the chart they depend on."""

import pytest

from tests.helm.charts import built


@pytest.fixture(scope="session")
def shop(tmp_path_factory):
    return built("shop", tmp_path_factory.mktemp("charts"))


@pytest.fixture(scope="session")
def export(tmp_path_factory):
    return built("export", tmp_path_factory.mktemp("charts"))
