"""A group's coordinator is waited for: a new broker has none yet."""

import pytest
from aiokafka import errors

from pelton.pipeline.kafka import coordinator
from pelton.pipeline.kafka.coordinator import PASSING, ask_coordinator

MISSING = errors.GroupCoordinatorNotAvailableError


class Broker:
    """Raises what it is given, then answers."""

    def __init__(self, *raised: Exception) -> None:
        self._raised = list(raised)

    async def ask(self) -> int:
        if self._raised:
            raise self._raised.pop(0)
        return 7


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinator, "RETRY_FIRST_S", 1e-6)


async def test_it_is_asked_until_there_is_one() -> None:
    """The errors that pass, by the names that the client gives them."""
    broker = Broker(MISSING(), errors.CoordinatorLoadInProgressError(), errors.NotCoordinatorForGroupError())
    assert await ask_coordinator(broker.ask) == 7
    assert all(hasattr(errors, name) for name in PASSING)


async def test_a_refusal_is_no_reason_to_wait() -> None:
    with pytest.raises(errors.GroupAuthorizationFailedError):
        await ask_coordinator(Broker(errors.GroupAuthorizationFailedError()).ask)


async def test_it_is_not_waited_for_without_end() -> None:
    """A broker whose settings do not let it make the topic never has one."""
    with pytest.raises(MISSING):
        await ask_coordinator(Broker(*[MISSING() for _ in range(1_000)]).ask, limit_s=0.01)
