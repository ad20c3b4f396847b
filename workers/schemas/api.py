"""What the admission has of schemas."""

from collections.abc import Sequence
from typing import Protocol

from pelton.workers.requests import Delivery


class OpenOnes(Protocol):
    """The requests that are still owed a reply."""

    def __contains__(self, delivery: Delivery, /) -> bool: ...


class Schemas(Protocol):
    """What the admission has of a registry."""

    async def look_up(self, deliveries: Sequence[Delivery], still_open: OpenOnes) -> None:
        """Return when each record's schema is known or refused, or nobody waits for the record any more."""

    async def close(self) -> None: ...


class NoSchemas:
    """For records that name none."""

    async def look_up(self, deliveries: Sequence[Delivery], still_open: OpenOnes) -> None:
        """Nothing to wait for."""

    async def close(self) -> None:
        """Nothing is open."""
