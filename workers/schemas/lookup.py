"""Looks up the schemas of fetched records, and waits for a registry that is away: no record fails by that.

A registry that works and fails at one schema, time after time, is another matter: nobody may come to mend that, and all
records behind those of the schema wait. After `schemas.give_up_s` they become dead letters, and others go on.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence

from cachetools import TTLCache

from pelton.pipeline.backoff import Backoff
from pelton.pipeline.wire.record_forms.schema import RegisteredSchema, UnusableSchema
from pelton.pipeline.wire.record_forms.table import SchemaTable, usable
from pelton.workers.requests import Delivery
from pelton.workers.schemas.api import OpenOnes
from pelton.workers.schemas.registry import NotInRegistry, RegistryAway, SchemaRegistry

log = logging.getLogger(__name__)

RETRY_FIRST_S = 0.5
RETRY_MAX_S = 30.0
FORGOTTEN_S = 600.0
"""A schema that nobody asked for in this time is given all of its time again."""
MAX_FAILING = 4_096
AT_ONCE = 8
"""Schemas that are looked up at the same time, however many the records of a poll name."""


class SchemaLookup:
    """`Schemas`, on the event loop. Records behind those that wait for a registry wait too, in their order."""

    def __init__(self, table: SchemaTable, registry: SchemaRegistry, give_up_s: float) -> None:
        self._table = table
        self._registry = registry
        self._give_up_s = give_up_s
        self._failing_since: TTLCache[int, float] = TTLCache(MAX_FAILING, FORGOTTEN_S)
        self._at_once = asyncio.Semaphore(AT_ONCE)

    async def look_up(self, deliveries: Sequence[Delivery], still_open: OpenOnes) -> None:
        asking: dict[int, list[Delivery]] = {}
        for delivery in deliveries:
            if (schema_id := self._table.wanted(delivery.record.value)) is not None:
                asking.setdefault(schema_id, []).append(delivery)
        if asking and self._table.lacks_output:
            await self._until_output(lambda: any(delivery in still_open for delivery in deliveries))

        async def one(schema_id: int, waiting: Sequence[Delivery]) -> None:
            async with self._at_once:
                await self._until_known(schema_id, lambda: any(delivery in still_open for delivery in waiting))

        async with asyncio.TaskGroup() as group:
            for schema_id, waiting in asking.items():
                group.create_task(one(schema_id, waiting))

    async def close(self) -> None:
        await self._registry.close()

    async def _until_known(self, schema_id: int, awaited: Callable[[], bool]) -> None:
        backoff = Backoff(RETRY_FIRST_S, RETRY_MAX_S)
        while awaited():
            try:
                registered = await self._registry.schema(schema_id)
                self._table.add(schema_id, await asyncio.to_thread(usable, registered))
            except (NotInRegistry, UnusableSchema) as error:
                log.warning("records of schema %d are at fault: %s", schema_id, error)
                self._table.refuse(schema_id, str(error))
            except RegistryAway as error:
                if (left_s := await self._patience_left_s(schema_id)) > 0:
                    await _pause(backoff, f"schema {schema_id} cannot be fetched from the registry: {error}", left_s)
                    continue
                self._give_up(schema_id, error)
                return
            self._failing_since.pop(schema_id, None)
            return

    async def _patience_left_s(self, schema_id: int) -> float:
        """How long to go on with a schema that was not given; without end where the registry gives none.

        The time counts from the first failure since the registry was last seen away, over all records of the schema:
        where it has been given up before, one more failure is enough.
        """
        if not await self._registry.works():
            self._failing_since.pop(schema_id, None)
            return math.inf
        now = time.monotonic()
        self._failing_since[schema_id] = since = self._failing_since.get(schema_id, now)
        return since + self._give_up_s - now

    def _give_up(self, schema_id: int, error: RegistryAway) -> None:
        log.error("records of schema %d become dead letters, the registry cannot give it: %s", schema_id, error)
        self._table.give_up(schema_id, f"the registry {self._registry.url} answers, and fails at this one: {error}")

    async def _until_output(self, awaited: Callable[[], bool]) -> None:
        """A wrong subject is the operator's to mend, not the records' fault: they wait until it is."""
        backoff = Backoff(RETRY_FIRST_S, RETRY_MAX_S)
        output = self._table.output
        while output is not None and self._table.lacks_output and awaited():
            try:
                registered = await self._registry.subject(output)
                await asyncio.to_thread(self._write_by, registered)
            except (NotInRegistry, UnusableSchema, RegistryAway) as error:
                where = f"the schema of subject {output.subject}, version {output.version} (output.subject of the map)"
                await _pause(backoff, f"{where} cannot be used: {error}")

    def _write_by(self, registered: RegisteredSchema) -> None:
        self._table.write_by(registered.id, usable(registered))


async def _pause(backoff: Backoff, what: str, most_s: float = math.inf) -> None:
    wait_s = min(backoff.next_s(), most_s)
    log.warning("%s; the records that need it wait, trying again in %.1f s", what, wait_s)
    await asyncio.sleep(wait_s)
