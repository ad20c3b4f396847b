"""A store of our making, and a worker's gate that runs over it."""

from collections.abc import AsyncIterator

import pytest

from tests.unit._support.turns import FakeStore
from tests.unit.workers.sessions._support.gate import Worker


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
async def worker(store: FakeStore) -> AsyncIterator[Worker]:
    async with Worker(store).running() as made:
        yield made
