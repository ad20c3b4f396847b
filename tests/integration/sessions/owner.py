"""One worker's view of one session, in tests of the store."""

from typing import Any

import orjson

from pelton.cache.sessions.history import History, Turn
from pelton.cache.sessions.store import Fence, Loaded, SessionStore, StoreFailure, Write, session_key
from pelton.pipeline.settings.cache import CacheSettings, SessionSettings
from pelton.pipeline.wire.chat import Message

DAY = SessionSettings(ttl_s=86_400)


def turn(number: int, text: str = "yes") -> Turn:
    answer = orjson.dumps({"choices": [{"message": {"content": text}, "logprobs": None}], "usage": {}})
    return Turn(f"t-0-{number}", (Message(role="user", content=f"q{number}"),), answer)


class Owner:
    """One worker's view of one session: what it loaded, under which fence."""

    def __init__(self, url: str, session: str, settings: SessionSettings = DAY) -> None:
        self.store = SessionStore(CacheSettings(redis_url=url), settings)
        self.session = session
        self.key = session_key("acme", session)
        self.fence = Fence.fresh("g", session, 0)

    async def take_over(self) -> bool:
        self.fence = Fence.fresh("g", self.session, 0)
        (done,) = await self.store.raise_fences([self.fence])
        return done

    async def load(self) -> Any:
        """The history, or the failure where a test expects one."""
        (loaded,) = await self.store.load([self.key])
        return loaded

    def write(self, loaded: Loaded, new: Turn) -> Write:
        return Write(self.key, self.fence, loaded, History((), (*loaded.history.turns, new)))

    async def put(self, loaded: Loaded, new: Turn) -> Turn | StoreFailure:
        (stored,) = await self.store.store([self.write(loaded, new)])
        return stored

    async def turns(self) -> tuple[Turn, ...]:
        return (await self.load()).history.turns
