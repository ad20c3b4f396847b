"""Workers with sessions, and people who talk to them."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from pelton.pipeline.settings.cache import SessionSettings
from pelton.producers.client import InferenceClient
from tests.integration.sessions.talk import Talk


class Scene:
    """One test's topics, its Redis, and a client."""

    def __init__(self, at: Any, recorded: Any) -> None:
        self.at = at
        self._recorded = recorded
        self.client = InferenceClient(at.settings.kafka)

    def worker(self, **settings: Any) -> AbstractAsyncContextManager[Any]:
        """A worker that notes what it generates, drained at the end; `settings` replace those of the scene."""
        return self._recorded(self.at.settings.model_copy(update=settings)).running()

    def talk(self, tenant: str | None = None) -> Talk:
        """A session that nobody else has."""
        return Talk(self.client, f"chat-{uuid.uuid4().hex}", tenant)


MakeScene = Callable[..., AbstractAsyncContextManager[Scene]]


@pytest.fixture
def scene(place: Callable[..., Awaitable[Any]], recorded: Any, redis_url: str) -> MakeScene:
    """`async with scene(partitions=1, session={...}) as it:`, with the settings of the fixture `place`."""

    @asynccontextmanager
    async def make(session: dict[str, Any] | None = None, **settings: Any) -> AsyncIterator[Scene]:
        at = await place(**{"cache": {"redis_url": redis_url}, **settings})
        at = type(at)(at.settings.model_copy(update={"session": SessionSettings(**(session or {}))}))
        made = Scene(at, recorded)
        async with made.client:
            yield made

    return make
