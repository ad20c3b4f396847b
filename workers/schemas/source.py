"""Where a worker has schemas from, if it needs any."""

from pelton.pipeline.settings.worker import SchemaSettings
from pelton.pipeline.wire.record_forms.table import SchemaTable
from pelton.workers.schemas.api import NoSchemas, Schemas


def schemas_of(settings: SchemaSettings, table: SchemaTable | None) -> Schemas:
    """Made on the loop that it lives on. A table is only there where `settings` have a registry."""
    if table is None:
        return NoSchemas()
    # Their libraries are of the extra pelton[schemas].
    from pelton.workers.schemas.lookup import SchemaLookup  # noqa: PLC0415
    from pelton.workers.schemas.registry import SchemaRegistry  # noqa: PLC0415

    return SchemaLookup(table, SchemaRegistry.of(settings), settings.give_up_s)
