"""A proxy in memory for each test, and Node where it is there."""

import pytest

from tests.conftest import program
from tests.fuzz import memory
from tests.fuzz.node import node as running_node


@pytest.fixture
async def world(tmp_path):
    async with memory.world(tmp_path) as made:
        yield made


@pytest.fixture
async def node():
    async with running_node(program("node")) as running:
        yield running
