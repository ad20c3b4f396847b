"""Where a worker has schemas from, if it needs any."""

from collections.abc import Sequence
from typing import Protocol

from pelton.pipeline.settings.worker import SchemaSettings
from pelton.pipeline.wire.record_forms.table import SchemaTable
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


def schemas_of(settings: SchemaSettings, table: SchemaTable | None) -> Schemas:
    """Made on the loop that it lives on. A table is only there where `settings` have a registry."""
    if table is None:
        return NoSchemas()
    # Their libraries are of the extra pelton[schemas].
    from pelton.workers.schemas.lookup import SchemaLookup  # noqa: PLC0415
    from pelton.workers.schemas.registry import SchemaRegistry  # noqa: PLC0415

    return SchemaLookup(table, SchemaRegistry.of(settings))
