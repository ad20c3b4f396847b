"""Engines of each kind, one after the other."""

import pytest

from pelton.workers.engine.api import StepEngine
from pelton.workers.engine.model.loading import LoadedModel
from tests.unit.workers.engine._support.engines import ENGINES, MakeEngine


@pytest.fixture(params=ENGINES)
def make_engine(request: pytest.FixtureRequest, loaded: LoadedModel) -> MakeEngine:
    """Makes engines of one kind, with the clock that a test gives them."""
    return lambda clock=lambda: 0.0: ENGINES[request.param](loaded, clock)


@pytest.fixture
def engine(make_engine: MakeEngine) -> StepEngine:
    return make_engine()
